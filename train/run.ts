/** A run: what it is told, what it shares, and what comes of it. */

import type { Device } from "../devices/device.ts";
import type { Recipe } from "../dsl/recipe.ts";
import type { Measures } from "./measurement.ts";
import type { Origin } from "./origin.ts";
import type { OutputDtype } from "./output.ts";
import type { HeldModels, Texts } from "./preparation.ts";
import type { KeptAttention, Report, StageReport } from "./report.ts";
import type { RunFolder } from "./run_folder.ts";
import type { FolderOf } from "./sources.ts";
import type { StepEvent } from "./stage.ts";

/** What happens during a run, for whoever watches. */
export interface RunEvents {
  /** A new phase. */
  note(message: string): void;
  /** Progress of a phase other than training; `total` 0 where it is not known. */
  progress(what: string, done: number, total: number): void;
  step(event: StepEvent): void;
  /** The student was measured. */
  measured(report: StageReport): void;
  /** Layers went back to attention. */
  kept(layers: KeptAttention): void;
  /** How long a part of the run took, for DEBUG. */
  took?(what: string, seconds: number): void;
}

/** Whether somebody wants a run to stop. Listening ends when it is disposed. */
export interface StopRequest extends Disposable {
  readonly wanted: boolean;
}

/** How a run is done. */
export interface RunOptions {
  readonly device: Device;
  /** Where the result goes. */
  readonly out: string;
  /**
   * Goes on where an earlier run of the same recipe stopped, or finds that it is done. Where there
   * is neither this is said, unless it was asked for with "if any".
   */
  readonly resume: boolean | "if any";
  /**
   * Removes what an unfinished run of the same recipe left. Without it and `resume` such a run is an
   * error where it has trained.
   */
  readonly restart?: boolean;
  readonly dtype: OutputDtype;
  /** Seconds between checkpoints. */
  readonly checkpointSeconds: number;
  readonly events: RunEvents;
  /** Bytes of streams that `align({ streamed: true })` keeps on disk at most. Default 16 GB. */
  readonly scratchBytes?: number;
  /** Where the recipe's checkpoints are. Default: at their paths. */
  readonly folderOf?: FolderOf;
  /** Starts to listen for wishes to stop. Only training does: nothing else has much to lose. */
  readonly listen?: () => StopRequest;
}

/** What came of a run. */
export type RunOutcome =
  /** It is done, by this call or, `before`, by an earlier one. */
  | { readonly kind: "done"; readonly report: Report; readonly before: boolean }
  /** It was asked to stop, and can be resumed. */
  | {
    readonly kind: "stopped";
    readonly folder: string;
    /** From 1. */
    readonly stage: number;
    readonly name: string;
    readonly step: number;
    readonly steps: number;
  };

/** What all parts of a run share. */
export interface Run {
  readonly recipe: Recipe;
  readonly options: RunOptions;
  readonly folder: RunFolder;
  readonly origin: Origin;
  readonly texts: Texts;
  /** Absent where all stages go layer by layer: then both models stay on disk. */
  readonly models?: HeldModels;
  readonly measures: Measures;
  /** Seconds of the whole run, earlier calls included. */
  readonly elapsed: () => number;
}

/** The models of a run that needs them as a whole. */
export function heldModels({ models }: Run): HeldModels {
  if (models === undefined) throw new Error("run: the models are on disk");
  return models;
}
