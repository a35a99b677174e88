/** What tests of the reference share: inputs by name, and values written out. */

import * as g from "../../../graph/build.ts";
import type { Shape, Tensor } from "../../../graph/tensor.ts";
import { evaluate } from "../../../kernels/reference.ts";

/** How far results of f64 may be from what is written out. */
export const EXACT = 1e-13;

export const f32 = (name: string, shape: Shape): Tensor => g.input(name, shape);
export const i32 = (name: string, shape: Shape): Tensor => g.input(name, shape, "i32");

/** Computes one tensor from values written out. */
export function values(t: Tensor, inputs: Record<string, readonly number[]> = {}): number[] {
  const data = Object.fromEntries(Object.entries(inputs).map(([k, v]) => [k, { data: v }]));
  return Array.from(evaluate([t], data)[0]);
}
