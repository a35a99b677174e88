/** Angles of the rotary position embedding. */

import type { DecoderConfig } from "./config.ts";

/** Radians a token of every pair of channels, [headDim/2] (RoFormer; Llama 3's scaling). */
export function rotaryFrequencies(
  { headDim, ropeTheta, ropeScaling: scaling }: Pick<
    DecoderConfig,
    "headDim" | "ropeTheta" | "ropeScaling"
  >,
): Float64Array {
  return Float64Array.from({ length: headDim / 2 }, (_, i) => {
    const frequency = ropeTheta ** (-2 * i / headDim);
    if (scaling === null) return frequency;
    const { factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings } = scaling;
    const turns = originalMaxPositionEmbeddings * frequency / (2 * Math.PI);
    const share = (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
    const kept = Math.min(1, Math.max(0, share));
    return kept * frequency + (1 - kept) * frequency / factor;
  });
}

/** Cosines and sines for positions, each [positions, headDim/2], computed in f64. */
export function rotaryTables(
  frequencies: Float64Array,
  positions: ArrayLike<number>,
): { cosine: Float32Array; sine: Float32Array } {
  const half = frequencies.length;
  const cosine = new Float32Array(positions.length * half);
  const sine = new Float32Array(positions.length * half);
  for (let p = 0; p < positions.length; p++) {
    for (let i = 0; i < half; i++) {
      const angle = positions[p] * frequencies[i];
      cosine[p * half + i] = Math.cos(angle);
      sine[p * half + i] = Math.sin(angle);
    }
  }
  return { cosine, sine };
}
