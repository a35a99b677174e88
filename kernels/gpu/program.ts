/** The GPU's kernels of the steps of a schedule. */

import type { ScheduleOptions } from "../../graph/schedule.ts";
import type { MatmulWork, Step } from "../../graph/step.ts";
import type { Node } from "../../graph/tensor.ts";
import type { View } from "../../graph/view.ts";
import { matmulShape } from "../matmul_shape.ts";
import { oneKernel, type StepKernels } from "../program.ts";
import { columnsKernel } from "./columns.ts";
import { decodeAttention } from "./decode_attention.ts";
import type { GpuKernel } from "./kernel.ts";
import { loopKernel } from "./loop.ts";
import { matmulKernel } from "./matmul.ts";
import { isMatvec, matvecKernel } from "./matvec.ts";
import { cachedShape, structuredKernel } from "./structured.ts";
import { wideningKernel } from "./weights.ts";

/** What the GPU's kernels can do: neither sums over blocks of rows nor products that add. */
export const GPU_SCHEDULING: ScheduleOptions = {
  epilogues: true,
  folds: false,
  accumulates: false,
};

/** The GPU's kernels of a step. Throws, naming it, for an operation that has none. */
export function gpuKernelsOf(step: Step): StepKernels<GpuKernel> {
  const { work, writes } = step;
  switch (work.kind) {
    case "loop":
      return oneKernel(step, loopKernel(work.body));
    case "columns":
      return oneKernel(step, columnsKernel(work.reduction));
    case "matmul":
      return matmulKernels(step, work);
    case "structured":
      return isDecoding(work.node)
        ? decodeAttentionKernels(work.node, work.views)
        : oneKernel(step, structuredKernel(work.node, work.views, writes.length));
    default:
      return work satisfies never;
  }
}

/** Whether an operation is attention of one token over a cache. */
const isDecoding = ({ op, inputs }: Node) =>
  op.kind === "cached_attention" && inputs[0].shape[1] === 1;

function decodeAttentionKernels(node: Node, views: readonly View[]): StepKernels<GpuKernel> {
  const { parts, whole, foundBytes } = decodeAttention(cachedShape(node, views));
  const [start, output, found] = [5, 6, 7];
  return {
    kernels: [
      { kernel: parts, operands: [0, 1, 2, 3, 4, start, found], firstWritten: 6, part: "parts" },
      { kernel: whole, operands: [start, found, output], firstWritten: 2, part: "whole" },
    ],
    scratch: [foundBytes],
  };
}

/** Stored weights of products of many rows become f32 first. */
function matmulKernels(step: Step, work: MatmulWork): StepKernels<GpuKernel> {
  const { a, b, transposeA, transposeB, epilogue } = work;
  const { dtype } = step.reads[1];
  const shape = matmulShape(a, b, transposeA, transposeB, dtype);
  if (isMatvec(shape)) return oneKernel(step, matvecKernel(shape, epilogue));
  const { weight, ...plain } = shape;
  const own = oneKernel(step, matmulKernel(plain, epilogue));
  if (weight === undefined) return own;
  const { n: rows, k: columns } = shape;
  const [product] = own.kernels;
  const scratch = product.operands.length;
  return {
    kernels: [
      {
        kernel: wideningKernel({ dtype: weight, rows, columns }),
        operands: [1, scratch],
        firstWritten: 1,
        part: "weights",
      },
      { ...product, operands: product.operands.map((i) => i === 1 ? scratch : i) },
    ],
    scratch: [4 * rows * columns],
  };
}
