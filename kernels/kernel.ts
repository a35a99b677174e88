/** What a kernel is to a device: code, independent work items, scratch memory, and its cost. */

import type { WeightDType } from "../graph/tensor.ts";
import { add, div, i32, mul, rem } from "./language/language.ts";
import type { Expr, KernelCode, Lanes } from "./language/syntax.ts";

/** A product of [batch, m, k] and [batch, k, n], with strides in elements. */
export interface MatmulShape {
  readonly batch: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: { readonly batchStride: number; readonly mStride: number; readonly kStride: number };
  readonly b: { readonly batchStride: number; readonly nStride: number; readonly kStride: number };
  /** How b is stored where it is not f32: a whole matrix [n, k]. */
  readonly weight?: WeightDType;
  /** It is added to a third operand; only in that operand's memory can a library do so. */
  readonly accumulates?: boolean;
}

/** What a kernel costs, on any device. */
export interface KernelCost {
  /** Floating-point operations, a multiplication and an addition counting as two. */
  readonly flops: number;
  /** Bytes that must at least be read and written. */
  readonly bytes: number;
  /** Inputs that are written through. */
  readonly inPlace?: readonly number[];
}

/**
 * A kernel for given shapes. Its code takes, in this order: one `ptr` an operand (inputs, then
 * outputs), a `ptr` to scratch memory of its own thread, and the range `begin`, `end` (i32) of
 * work items to do. Items are independent of one another, and each is computed in a fixed order,
 * so the result has the same bits for every number of threads.
 */
export interface Kernel extends KernelCost {
  /** Names the code: two kernels with one key are one kernel. */
  readonly key: string;
  /**
   * Builds the code for vectors of so many lanes, or fewer where it has no use for them; code with
   * tiles has 16 always.
   */
  readonly code: (lanes: Lanes) => KernelCode;
  /** Number of work items. */
  readonly items: number;
  /** Items that a thread had best take at a time, where the kernel knows; a device decides else. */
  readonly grain?: number;
  /** Scratch memory of one thread, in bytes. */
  readonly scratchBytes: number;
  /** A plain matrix product, which a device may leave to a library. */
  readonly matmul?: MatmulShape;
  /** For a product with stored weights: what makes f32 of rows of b (weights/rows.ts). */
  readonly expansion?: Kernel;
  /**
   * Code with the same operands that a thread runs once before its first items, for any of them: it
   * leaves in scratch memory what depends on the first operand alone.
   */
  readonly prepare?: Pick<Kernel, "key" | "code">;
  /** An operand that is read once, from its start, and its bytes of a work item, about. */
  readonly streams?: { readonly operand: number; readonly itemBytes: number };
}

/** An axis of a strided operand: one or more factors, outermost first, strides in elements. */
export type AxisLayout = readonly { readonly size: number; readonly stride: number }[];

/** How an operand of some logical axes lies in memory. An axis of stride 0 is repeated. */
export interface OperandLayout {
  /** Position of the first element, in elements. */
  readonly offset: number;
  readonly axes: readonly AxisLayout[];
}

/** The layout of a row-major tensor. */
export function contiguousLayout(shape: readonly number[]): OperandLayout {
  let stride = 1;
  const axes: AxisLayout[] = [];
  for (const size of [...shape].reverse()) {
    axes.unshift([{ size, stride }]);
    stride *= size;
  }
  return { offset: 0, axes };
}

/** Bytes from the start of an axis to an index along it. */
export function axisOffset(index: Expr<"i32">, axis: AxisLayout, elementBytes = 4): Expr<"i32"> {
  let sum = i32(0);
  let inner = 1;
  for (let f = axis.length - 1; f >= 0; f--) {
    const { size, stride } = axis[f];
    if (stride !== 0 && size !== 1) {
      const over = div(index, i32(inner));
      const factor = f === 0 ? over : rem(over, i32(size));
      sum = add(mul(factor, i32(stride * elementBytes)), sum);
    }
    inner *= size;
  }
  return sum;
}
