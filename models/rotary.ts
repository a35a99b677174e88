/** Angles of the rotary position embedding. */

import type { DecoderConfig, RopeScaling } from "./config.ts";

/** The angles of the rotary embedding, as functions of the position. */
export interface RotaryFrequencies {
  /** Radians a token of every pair of channels, [headDim/2]. */
  readonly radians: Float64Array;
  /** What cosines and sines are multiplied with; 1 but for YaRN. */
  readonly amplitude: number;
}

/** Radians a token of every pair of channels (RoFormer), and what a scaling makes of them. */
export function rotaryFrequencies(
  { headDim, ropeTheta, ropeScaling: scaling }: Pick<
    DecoderConfig,
    "headDim" | "ropeTheta" | "ropeScaling"
  >,
): RotaryFrequencies {
  const kept = scaling === null ? () => 1 : keptShare(scaling, headDim, ropeTheta);
  const radians = Float64Array.from({ length: headDim / 2 }, (_, pair) => {
    const frequency = ropeTheta ** (-2 * pair / headDim);
    if (scaling === null) return frequency;
    const share = kept(pair, frequency);
    return share * frequency + (1 - share) * frequency / scaling.factor;
  });
  return { radians, amplitude: scaling?.type === "yarn" ? scaling.attentionFactor : 1 };
}

const clamp = (share: number) => Math.min(1, Math.max(0, share));

/**
 * How much of a pair's frequency stays as it is; the rest is divided by the scaling's factor. The
 * formulas are those of transformers (modeling_rope_utils.py), computed in f64.
 */
function keptShare(
  scaling: RopeScaling,
  headDim: number,
  theta: number,
): (pair: number, frequency: number) => number {
  switch (scaling.type) {
    case "linear":
      return () => 0;
    case "llama3": {
      const { lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings } = scaling;
      return (_, frequency) => {
        const turns = originalMaxPositionEmbeddings * frequency / (2 * Math.PI);
        return clamp((turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor));
      };
    }
    case "yarn": {
      // The pair, perhaps between two, that turns so often within the original context.
      const pairOf = (turns: number) =>
        headDim * Math.log(scaling.originalMaxPositionEmbeddings / (turns * 2 * Math.PI)) /
        (2 * Math.log(theta));
      const [fast, slow] = [pairOf(scaling.betaFast), pairOf(scaling.betaSlow)];
      const low = Math.max(0, scaling.truncate ? Math.floor(fast) : fast);
      const high = Math.min(headDim - 1, scaling.truncate ? Math.ceil(slow) : slow);
      const width = high === low ? 0.001 : high - low;
      return (pair) => 1 - clamp((pair - low) / width);
    }
    default:
      return scaling satisfies never;
  }
}

/** Cosines and sines for positions, each [positions, headDim/2], computed in f64. */
export function rotaryTables(
  { radians, amplitude }: RotaryFrequencies,
  positions: ArrayLike<number>,
): { cosine: Float32Array; sine: Float32Array } {
  const half = radians.length;
  const cosine = new Float32Array(positions.length * half);
  const sine = new Float32Array(positions.length * half);
  for (let p = 0; p < positions.length; p++) {
    for (let i = 0; i < half; i++) {
      const angle = positions[p] * radians[i];
      cosine[p * half + i] = amplitude * Math.cos(angle);
      sine[p * half + i] = amplitude * Math.sin(angle);
    }
  }
  return { cosine, sine };
}
