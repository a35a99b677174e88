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

/**
 * Initial values of a parameter, the many that are drawn from a normal distribution from a uniform
 * one of the same deviation.
 */
export function quickValues(parameter: Parameter, seed: number): Float32Array {
  const { shape, initial } = parameter;
  if (initial.kind !== "normal") return initialValues(parameter, seed);
  // A uniform distribution is √12 deviations wide.
  const bound = Math.sqrt(3) * initial.deviation;
  return quickNumbers(size(shape), seed, -bound, bound);
}
