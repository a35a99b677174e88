/** The null device: compiles, counts and runs nothing. */

import { schedule } from "../graph/schedule.ts";
import type { Tensor } from "../graph/tensor.ts";
import { buildProgram, cpuKernel } from "../kernels/program.ts";

/** What computing some tensors costs. */
export interface Cost {
  readonly launches: number;
  /** Floating-point operations, a multiplication and an addition counting as two. */
  readonly flops: number;
  /** Bytes that kernels read and write. */
  readonly bytes: number;
  /** Bytes of memory for intermediate results. */
  readonly arenaBytes: number;
}

/** Counts without computing. */
export function costOf(results: readonly Tensor[]): Cost {
  const plan = schedule(results, { epilogues: true, folds: true, accumulates: true });
  const { launches, arenaBytes } = buildProgram(plan, (step) => cpuKernel(step, 1));
  return {
    launches: launches.length,
    flops: launches.reduce((n, { kernel }) => n + kernel.flops, 0),
    bytes: launches.reduce((n, { kernel }) => n + kernel.bytes, 0),
    arenaBytes,
  };
}
