/** What a run found out, as it is written to report.json. */

import type { Evaluation } from "../infer/evaluation.ts";

/** A model's measures on the held-out text. */
export interface ModelReport extends Evaluation {
  /** Tokens of context that it was evaluated with. */
  readonly context: number;
}

/** The student's measures at one point of a run. */
export interface Measure {
  /** Held-out cross-entropy in nats, and its exponential. */
  readonly loss: number;
  readonly perplexity: number;
  /** Perplexity over the teacher's at the same context; absent without a teacher. */
  readonly ratio?: number;
  readonly context: number;
}

/** What the training of one stage took. */
export interface Training {
  /** Tokens trained on. */
  readonly tokens: number;
  /** Seconds of training. */
  readonly seconds: number;
  /** Mean training loss of the last steps. */
  readonly trainingLoss?: number;
  /** Bytes that the device had in use while it trained. */
  readonly deviceBytes?: number;
}

/** The student before the first stage (no tokens, no seconds) or after one. */
export interface StageReport extends Measure, Training {
  readonly name: string;
}

/** What a model costs at inference. */
export interface InferenceReport {
  /** Values in the model's parameters; tied embeddings count once. */
  readonly parameters: number;
  readonly stateBytesAt1K: number;
  readonly stateBytesAt32K: number;
  /** Tokens a second, one text at a time; absent for a model that stayed on disk, as is the sample. */
  readonly tokensPerSecond?: number;
  /** What it writes after the prompt. */
  readonly sample?: string;
}

/** The stage-1 error of a layer on held-out text: the mean of ‖o_teacher − o_student‖₂·C^(−½). */
export interface LayerError {
  readonly layer: number;
  readonly error: number;
}

/** Layers that were found by measurement and went back to attention at the end of stage 1. */
export interface KeptAttention {
  readonly layers: readonly number[];
  /** Of every layer that had been converted. */
  readonly errors: readonly LayerError[];
}

/** report.json. */
export interface Report {
  /** Final student over teacher held-out perplexity; absent without a teacher. */
  readonly ratio?: number;
  readonly teacher?: ModelReport & InferenceReport;
  readonly student: Measure & InferenceReport;
  /** The student before the first stage. */
  readonly untrained: StageReport;
  /** The student after every stage. */
  readonly stages: readonly StageReport[];
  /** Absent where the recipe says itself which layers keep attention. */
  readonly keptAttention?: KeptAttention;
  readonly prompt: string;
  readonly heldOutTokens: number;
  readonly trainingTokens: number;
  /** Of the whole run, reading and measuring included. */
  readonly seconds: number;
  /** Bytes at most: of the device's memory, and of the process in the machine's. */
  readonly peakMemory: { readonly device: number; readonly process: number };
  readonly machine: {
    readonly name: string;
    readonly cores: number;
    readonly os: string;
  };
  readonly device: string;
  readonly versions: Readonly<Record<string, string>>;
  /** Hash of the recipe that ran, its seed included. */
  readonly recipeHash: string;
  readonly seed: number;
}
