/** What a stage that goes layer by layer is run with. */

import type { Device } from "../../devices/device.ts";
import type { Stage } from "../../dsl/stages.ts";
import type { Checkpoint } from "../../infer/loading.ts";
import type { ModelSpec } from "../../models/config.ts";
import type { TokenStream } from "../data.ts";
import type { StageProgress, StepEvent } from "../stage.ts";
import type { Weights } from "../weights.ts";

/** The models, the tokens, the folder, and whom to tell and ask. */
export interface StreamedRun {
  readonly device: Device;
  readonly stage: Stage;
  readonly student: ModelSpec;
  readonly teacher: Checkpoint;
  /** The student before the stage. */
  readonly weights: Weights;
  readonly tokens: TokenStream;
  /** Samples that earlier stages have used, so that this one sees new text. */
  readonly samplesBefore: number;
  /** Where the layers and their streams are kept. */
  readonly folder: string;
  /** Bytes of streams at most. The result does not depend on it. Default `SCRATCH_BYTES`. */
  readonly scratchBytes?: number;
  /** Steps that all layers have done. */
  readonly progress: StageProgress;
  /** Called for every step of a window, once all layers have done it. */
  readonly onStep: (event: StepEvent) => void;
  /** Steps of layers that are done in the present window, of how many. */
  readonly onLayer: (what: string, done: number, total: number) => void;
  /** Asked before every step of a layer. */
  readonly wantsCheckpoint: () => boolean;
  /** Around the writing of a layer's file. */
  readonly during: (write: () => Promise<void>) => Promise<void>;
  /** Called after every window, before the next one begins. */
  readonly checkpoint: (progress: StageProgress) => Promise<void>;
  /** Asked before every step of a layer: whether to write its file and leave. */
  readonly wantsStop: () => boolean;
}
