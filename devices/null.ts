/** The null device: compiles, counts and runs nothing. */

import { schedule } from "../graph/schedule.ts";
import type { Step } from "../graph/step.ts";
import type { Tensor } from "../graph/tensor.ts";
import { buildProgram, cpuKernel, oneKernel } from "../kernels/program.ts";

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

/** A kernel of a program, and the step that it is for. */
export interface CountedLaunch {
  readonly step: Step;
  /** What it computes, for people. */
  readonly label: string;
  readonly flops: number;
  readonly bytes: number;
}

/** A schedule and its program. */
function compiled(results: readonly Tensor[]) {
  const plan = schedule(results, { epilogues: true, folds: true, accumulates: true });
  return {
    steps: plan.steps,
    ...buildProgram(
      plan,
      (step) =>
        oneKernel(step, cpuKernel(step, { threads: 1, tiles: false, wide: false, dots: false })),
    ),
  };
}

/** Counts without computing. */
export function costOf(results: readonly Tensor[]): Cost {
  const { launches, arenaBytes } = compiled(results);
  return {
    launches: launches.length,
    flops: launches.reduce((n, { kernel }) => n + kernel.flops, 0),
    bytes: launches.reduce((n, { kernel }) => n + kernel.bytes, 0),
    arenaBytes,
  };
}

/** The same, kernel by kernel in their order. */
export function launchesOf(results: readonly Tensor[]): CountedLaunch[] {
  const { steps, launches } = compiled(results);
  return launches.map(({ kernel: { flops, bytes }, label }, i) => ({
    step: steps[i],
    label,
    flops,
    bytes,
  }));
}
