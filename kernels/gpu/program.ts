/** The GPU's kernels of the steps of a schedule. */

import type { ScheduleOptions } from "../../graph/schedule.ts";
import type { Epilogue, MatmulWork, Step } from "../../graph/step.ts";
import type { Node } from "../../graph/tensor.ts";
import type { View } from "../../graph/view.ts";
import type { MatmulShape } from "../kernel.ts";
import { matmulShape } from "../matmul/shape.ts";
import { oneKernel, type StepKernels } from "../program.ts";
import { cachedShape } from "../structured_shape.ts";
import { columnsKernels } from "./columns.ts";
import { decodeAttention } from "./attention/decode.ts";
import { headStrides } from "./heads.ts";
import type { GpuKernel } from "./kernel.ts";
import { loopKernel } from "./loop.ts";
import { matmulKernels } from "./matmul/matmul.ts";
import { isMatvec, matvecKernel } from "./matvec/matvec.ts";
import { structuredKernel } from "./structured.ts";
import type { ProductNumbers } from "./matmul/tiling.ts";
import { type StoredMatrix, wideningKernel } from "./weights.ts";

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

const ownProducts = (numbers: ProductNumbers): ProductKernels => (step, shape, epilogue) =>
  matmulKernels(step, shape, epilogue, numbers);

/**
 * The GPU's kernels of a step, where `products` does those of many rows, and those within attention are
 * of numbers. Throws, naming it, for an operation that has none.
 */
export function gpuKernelsOf(
  step: Step,
  numbers: ProductNumbers = "f32",
  products: ProductKernels = ownProducts(numbers),
): StepKernels<GpuKernel> {
  const { work, writes } = step;
  switch (work.kind) {
    case "loop":
      return oneKernel(step, loopKernel(work.body));
    case "columns":
      return columnsKernels(step, work.reduction);
    case "matmul":
      return productKernels(step, work, products);
    case "structured": {
      if (isDecoding(work.node)) return decodeAttentionKernels(work.node, work.views);
      const made = structuredKernel(work.node, work.views, writes.length, numbers);
      return "kernels" in made ? made : oneKernel(step, made);
    }
    default:
      return work satisfies never;
  }
}

/** Whether an operation is attention of one token over a cache. */
const isDecoding = ({ op, inputs }: Node) =>
  op.kind === "cached_attention" && inputs[0].shape[1] === 1;

function decodeAttentionKernels(node: Node, views: readonly View[]): StepKernels<GpuKernel> {
  const { parts, whole, foundBytes } = decodeAttention(cachedShape(node, views, headStrides));
  const [start, output, found] = [5, 6, 7];
  return {
    kernels: [
      { kernel: parts, operands: [0, 1, 2, 3, 4, start, found], firstWritten: 6, part: "parts" },
      { kernel: whole, operands: [start, found, output], firstWritten: 2, part: "whole" },
    ],
    scratch: [foundBytes],
  };
}

/** Products of few rows read the matrix as it lies; for many, stored weights become f32 first. */
function productKernels(
  step: Step,
  work: MatmulWork,
  products: ProductKernels,
): StepKernels<GpuKernel> {
  const { a, b, transposeA, transposeB, epilogue } = work;
  const shape = matmulShape(a, b, transposeA, transposeB, step.reads[1].dtype);
  // Sums in place are a library's work, whatever their rows.
  if (isMatvec(shape) && !work.accumulates) return oneKernel(step, matvecKernel(shape, epilogue));
  const { weight, ...plain } = shape;
  const kernels = products(step, plain, epilogue);
  return weight === undefined
    ? kernels
    : widened(step, kernels, { dtype: weight, rows: shape.n, columns: shape.k });
}

/** Kernels that have f32 in scratch memory instead of the stored weights, their second operand. */
function widened(
  { reads, writes }: Step,
  { kernels, scratch }: StepKernels<GpuKernel>,
  matrix: StoredMatrix,
): StepKernels<GpuKernel> {
  const wide = reads.length + writes.length + scratch.length;
  return {
    kernels: [
      { kernel: wideningKernel(matrix), operands: [1, wide], firstWritten: 1, part: "weights" },
      ...kernels.map((own) => ({
        ...own,
        operands: own.operands.map((i) => i === 1 ? wide : i),
      })),
    ],
    scratch: [...scratch, 4 * matrix.rows * matrix.columns],
  };
}
