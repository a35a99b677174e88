/** The GPU's kernels of the steps of a schedule. */

import type { ScheduleOptions } from "../../graph/schedule.ts";
import type { Epilogue, Step } from "../../graph/step.ts";
import type { MatmulShape } from "../kernel.ts";
import { matmulShape } from "../matmul_shape.ts";
import { oneKernel, type StepKernels } from "../program.ts";
import { columnsKernels } from "./columns.ts";
import type { GpuKernel } from "./kernel.ts";
import { loopKernel } from "./loop.ts";
import { matmulKernels } from "./matmul.ts";
import { structuredKernel } from "./structured.ts";

/** What the GPU's kernels can do: neither sums over blocks of rows nor products that add. */
export const GPU_SCHEDULING: ScheduleOptions = {
  epilogues: true,
  folds: false,
  accumulates: false,
};

/** The kernels of a product's step. */
export type ProductKernels = (
  step: Step,
  shape: MatmulShape,
  epilogue?: Epilogue,
) => StepKernels<GpuKernel>;

/**
 * The GPU's kernels of a step, where `products` does those of many rows. Throws, naming it, for an
 * operation that has none.
 */
export function gpuKernelsOf(
  step: Step,
  products: ProductKernels = matmulKernels,
): StepKernels<GpuKernel> {
  const { work, writes } = step;
  switch (work.kind) {
    case "loop":
      return oneKernel(step, loopKernel(work.body));
    case "columns":
      return columnsKernels(step, work.reduction);
    case "matmul": {
      const { a, b, transposeA, transposeB, epilogue } = work;
      const shape = matmulShape(a, b, transposeA, transposeB);
      return products(step, shape, epilogue);
    }
    case "structured": {
      const made = structuredKernel(work.node, work.views, writes.length);
      return "kernels" in made ? made : oneKernel(step, made);
    }
    default:
      return work satisfies never;
  }
}
