/** Random weights of large models, made fast. */

import { size } from "../graph/tensor.ts";
import { initialValues } from "../models/initial_values.ts";
import type { Parameter } from "../models/parameter.ts";

/** Numbers of a range: those of a linear congruential generator. */
export function quickNumbers(count: number, seed: number, from: number, to: number): Float32Array {
  const values = new Float32Array(count);
  const [middle, width] = [(from + to) / 2, (to - from) / 2 ** 32];
  let state = seed + count;
  for (let i = 0; i < count; i++) {
    state = Math.imul(state, 1664525) + 1013904223 | 0;
    values[i] = middle + width * state;
  }
  return values;
}

/** The deviation of values that are drawn in number; undefined for what is made otherwise. */
function deviationOf({ shape, initial }: Parameter): number | undefined {
  switch (initial.kind) {
    case "normal":
      return initial.deviation;
    case "orthogonal":
      // Whichever of rows and columns are orthonormal.
      return initial.gain / Math.sqrt(shape[shape.length - 1]);
    default:
      return undefined;
  }
}

/**
 * Initial values of a parameter, the many that are drawn from a normal distribution, or made
 * orthogonal, from a uniform one of the same deviation.
 */
export function quickValues(parameter: Parameter, seed: number): Float32Array {
  const deviation = deviationOf(parameter);
  if (deviation === undefined) return initialValues(parameter, seed);
  // A uniform distribution is √12 deviations wide.
  const bound = Math.sqrt(3) * deviation;
  return quickNumbers(size(parameter.shape), seed, -bound, bound);
}
