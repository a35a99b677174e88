/** What a model is made of, as plain data. */

/** How rotary wavelengths are stretched for longer contexts (rotary.ts has the formulas). */
export type RopeScaling =
  | { readonly type: "linear"; readonly factor: number }
  | {
    readonly type: "llama3";
    readonly factor: number;
    readonly lowFreqFactor: number;
    readonly highFreqFactor: number;
    readonly originalMaxPositionEmbeddings: number;
  }
  | {
    readonly type: "yarn";
    readonly factor: number;
    readonly originalMaxPositionEmbeddings: number;
    readonly betaFast: number;
    readonly betaSlow: number;
    readonly truncate: boolean;
    readonly attentionFactor: number;
  };

/** Sizes of a decoder; the names follow Hugging Face's config.json. */
export interface DecoderConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly attentionHeads: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling | null;
  readonly tieWordEmbeddings: boolean;
  /** Biases of the query, key and value projections. */
  readonly attentionBias: boolean;
  /** Bias of the output projection. */
  readonly attentionOutputBias: boolean;
  /** RMSNorm of every query (receptance) and key head before it is turned. */
  readonly attentionQkNorm: boolean;
  readonly mlpBias: boolean;
}

/** Softmax attention, kept as the teacher has it. */
export interface AttentionSpec {
  readonly kind: "attention";
  /** Latest keys that a query sees, its own included; all earlier ones where it is missing. */
  readonly window?: number;
}

/** LoRA ranks of a RAD-RWKV6 mixer. */
export interface RadRwkv6Ranks {
  readonly tokenShift: number;
  readonly decay: number;
  readonly gate: number;
}

/** RAD-RWKV6 with its flags, each independent of the others (paper, section 3). */
export interface RadRwkv6Spec {
  readonly kind: "radRwkv6";
  readonly rope: boolean;
  readonly tokenShift: boolean;
  readonly balanceState: boolean;
  readonly groupNorm: boolean;
  /** 0 none, 1 full rank, 2 low rank. */
  readonly gate: 0 | 1 | 2;
  readonly ranks: RadRwkv6Ranks;
}

/** LoRA ranks of a RAD-RWKV7 mixer. */
export interface RadRwkv7Ranks {
  readonly decay: number;
  readonly iclr: number;
  readonly valueResidual: number;
  readonly gate: number;
}

/** RAD-RWKV7 with its flags, each independent of the others (paper, section 3). */
export interface RadRwkv7Spec {
  readonly kind: "radRwkv7";
  readonly rope: boolean;
  readonly balanceState: boolean;
  readonly groupNorm: boolean;
  /** 0 none, 1 full rank, 2 low rank. */
  readonly gate: 0 | 1 | 2;
  readonly ranks: RadRwkv7Ranks;
}

/** What mixes the tokens of a layer. */
export type MixerSpec = AttentionSpec | RadRwkv6Spec | RadRwkv7Spec;

/** A decoder with a mixer for every layer. */
export interface ModelSpec {
  readonly config: DecoderConfig;
  readonly mixers: readonly MixerSpec[];
}

/** Automatic LoRA rank: max(1, round(C^exponent·multiplier/32))·32 (published training code). */
export function loraRank(hiddenSize: number, exponent: number, multiplier: number): number {
  return Math.max(1, Math.round(hiddenSize ** exponent * multiplier / 32)) * 32;
}

/** The automatic ranks of RAD-RWKV6. */
export function radRwkv6Ranks(hiddenSize: number): RadRwkv6Ranks {
  return {
    tokenShift: loraRank(hiddenSize, 0.5, 1.8),
    decay: loraRank(hiddenSize, 0.5, 1.8),
    gate: loraRank(hiddenSize, 0.8, 0.6),
  };
}

/** The automatic ranks of RAD-RWKV7. */
export function radRwkv7Ranks(hiddenSize: number): RadRwkv7Ranks {
  return {
    decay: loraRank(hiddenSize, 0.5, 1.8),
    iclr: loraRank(hiddenSize, 0.5, 1.8),
    valueResidual: loraRank(hiddenSize, 0.5, 1.3),
    gate: loraRank(hiddenSize, 0.8, 0.6),
  };
}
