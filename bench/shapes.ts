/** The shapes that training is measured at. */

import {
  type DecoderConfig,
  type MixerSpec,
  type ModelSpec,
  radRwkv6Ranks,
  radRwkv7Ranks,
} from "../models/config.ts";

/** A model, a batch and a context. */
export interface BenchShape {
  readonly config: DecoderConfig;
  readonly batch: number;
  readonly context: number;
}

/** Hidden, intermediate, layers, heads, key/value heads, head width, vocabulary. */
type Sizes = readonly [number, number, number, number, number, number, number];

/** A Qwen2-style decoder of these sizes. */
export function decoderConfig(
  [hiddenSize, intermediateSize, layers, attentionHeads, keyValueHeads, headDim, vocabSize]: Sizes,
): DecoderConfig {
  return {
    vocabSize,
    hiddenSize,
    intermediateSize,
    layers,
    attentionHeads,
    keyValueHeads,
    headDim,
    rmsNormEps: 1e-6,
    ropeTheta: 10000,
    ropeScaling: null,
    tieWordEmbeddings: false,
    attentionBias: true,
    attentionOutputBias: false,
    attentionQkNorm: false,
    mlpBias: false,
  };
}

const shape = (
  sizes: Sizes,
  batch: number,
  { context = 256, ...changes }: Partial<DecoderConfig> & { readonly context?: number } = {},
): BenchShape => ({ config: { ...decoderConfig(sizes), ...changes }, batch, context });

/**
 * Shapes by name. `qwen7b` is that of Qwen2.5-7B, which only `bench align` can hold; `qwen05b` is
 * Qwen2.5-0.5B at the context of the paper's first stages. `quickstart` is `tiny` with the batch of
 * recipes/quickstart.ts, from which plans take their speed.
 */
export const SHAPES = {
  quickstart: shape([128, 352, 4, 2, 1, 64, 2048], 4),
  tiny: shape([128, 352, 4, 2, 1, 64, 2048], 16),
  small: shape([256, 704, 6, 4, 2, 64, 4096], 8),
  smollm: shape([576, 1536, 30, 9, 3, 64, 49152], 1),
  qwen05b: shape([896, 4864, 24, 14, 2, 64, 151936], 1, {
    context: 512,
    ropeTheta: 1_000_000,
    tieWordEmbeddings: true,
  }),
  qwen7b: shape([3584, 18944, 28, 28, 4, 128, 152064], 1),
} as const;

/** A shape's name. */
export type ShapeName = keyof typeof SHAPES;

/** The mixers that students are measured with, by the published flags. */
export const BENCH_MIXERS = {
  rwkv6: (hiddenSize: number): MixerSpec => ({
    kind: "radRwkv6",
    rope: false,
    tokenShift: true,
    balanceState: true,
    groupNorm: false,
    gate: 1,
    ranks: radRwkv6Ranks(hiddenSize),
  }),
  rwkv7: (hiddenSize: number): MixerSpec => ({
    kind: "radRwkv7",
    rope: true,
    balanceState: false,
    groupNorm: true,
    gate: 2,
    ranks: radRwkv7Ranks(hiddenSize),
  }),
} as const;

/** A mixer's name. */
export type BenchMixer = keyof typeof BENCH_MIXERS;

/** What a layer may have: one of them, or attention as its teacher has it. */
export type LayerMixer = BenchMixer | "attention";

/** A decoder with the same mixer in every layer. */
export const uniform = (config: DecoderConfig, mixer: LayerMixer): ModelSpec => ({
  config,
  mixers: Array.from(
    { length: config.layers },
    () => mixer === "attention" ? { kind: "attention" } : BENCH_MIXERS[mixer](config.hiddenSize),
  ),
});

/** The teacher of a shape, and the student with a mixer in every layer. */
export const benchModels = (
  { config }: BenchShape,
  mixer: BenchMixer,
): { teacher: ModelSpec; student: ModelSpec } => ({
  teacher: uniform(config, "attention"),
  student: uniform(config, mixer),
});
