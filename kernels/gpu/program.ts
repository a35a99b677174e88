/** The GPU's kernels of the steps of a schedule. */

import type { ScheduleOptions } from "../../graph/schedule.ts";
import type { Step } from "../../graph/step.ts";
import { matmulShape } from "../matmul_shape.ts";
import { columnsKernel } from "./columns.ts";
import type { GpuKernel } from "./kernel.ts";
import { loopKernel } from "./loop.ts";
import { matmulKernel } from "./matmul.ts";
import { structuredKernel } from "./structured.ts";

/** What the GPU's kernels can do: neither sums over blocks of rows nor products that add. */
export const GPU_SCHEDULING: ScheduleOptions = {
  epilogues: true,
  folds: false,
  accumulates: false,
};

/** The GPU's kernel of a step. Throws, naming it, for an operation that has none. */
export function gpuKernelOf({ work, writes }: Step): GpuKernel {
  switch (work.kind) {
    case "loop":
      return loopKernel(work.body);
    case "columns":
      return columnsKernel(work.reduction);
    case "matmul": {
      const { a, b, transposeA, transposeB, epilogue } = work;
      return matmulKernel(matmulShape(a, b, transposeA, transposeB), epilogue);
    }
    case "structured":
      return structuredKernel(work.node, work.views, writes.length);
    default:
      return work satisfies never;
  }
}
