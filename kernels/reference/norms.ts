/** Normalisations and the rotary position embedding. */

import { flatIndex, type Value } from "./value.ts";

/** x/√(mean(x²)+ε)·weight over the last axis. */
export function rmsNorm(x: Value, weight: Value, epsilon: number): Float64Array {
  const [width] = weight.shape;
  const out = new Float64Array(x.data.length);
  for (let begin = 0; begin < out.length; begin += width) {
    let squares = 0;
    for (let i = 0; i < width; i++) squares += x.data[begin + i] ** 2;
    const scale = 1 / Math.sqrt(squares / width + epsilon);
    for (let i = 0; i < width; i++) out[begin + i] = x.data[begin + i] * scale * weight.data[i];
  }
  return out;
}

/** (x − mean)/√(variance+ε)·weight + bias per head of x [..., heads, width]. */
export function groupNorm(x: Value, weight: Value, bias: Value, epsilon: number): Float64Array {
  const [heads, width] = weight.shape;
  const out = new Float64Array(x.data.length);
  for (let row = 0; row * width < out.length; row++) {
    const values = x.data.subarray(row * width, (row + 1) * width);
    const mean = values.reduce((sum, value) => sum + value, 0) / width;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / width;
    const scale = 1 / Math.sqrt(variance + epsilon);
    const parameters = (row % heads) * width;
    for (let i = 0; i < width; i++) {
      out[row * width + i] = (values[i] - mean) * scale * weight.data[parameters + i] +
        bias.data[parameters + i];
    }
  }
  return out;
}

/**
 * (x₀, x₁) of the halves of every head turned by its angle: (x₀c − x₁s, x₁c + x₀s); the inverse
 * turns back.
 */
export function rotary(x: Value, cosine: Value, sine: Value, inverse: boolean): Float64Array {
  const [batch, time, heads, width] = x.shape;
  const half = width / 2;
  const at = flatIndex(x.shape);
  const angleAt = flatIndex(cosine.shape);
  const sineAt = flatIndex(sine.shape);
  const out = new Float64Array(x.data.length);
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < time; t++) {
      for (let h = 0; h < heads; h++) {
        for (let i = 0; i < half; i++) {
          const c = cosine.data[angleAt(cosine.shape[0] === 1 ? 0 : b, t, i)];
          const angleSine = sine.data[sineAt(sine.shape[0] === 1 ? 0 : b, t, i)];
          const s = inverse ? -angleSine : angleSine;
          const [first, second] = [at(b, t, h, i), at(b, t, h, i + half)];
          out[first] = x.data[first] * c - x.data[second] * s;
          out[second] = x.data[second] * c + x.data[first] * s;
        }
      }
    }
  }
  return out;
}
