/** Which matrix products cuBLASLt can express, and how: pure, without a GPU. */

import type { Address } from "../../graph/loop.ts";
import type { Step } from "../../graph/step.ts";
import { type Node, size } from "../../graph/tensor.ts";
import type { MatmulShape } from "../../kernels/kernel.ts";

/** A matrix in memory, column-major: `leading` elements from one column to the next. */
export interface GemmMatrix {
  readonly rows: number;
  readonly columns: number;
  readonly leading: number;
  /** Elements from one matrix of a batch to the next. */
  readonly batchStride: number;
  /** Whether the product takes it transposed. */
  readonly transposed: boolean;
}

/**
 * D = A·B + β·C as cuBLASLt has it. Its matrices are column-major, ours row-major: so its A is our b
 * transposed, its B our a transposed, and its D [n, m] our result [m, n].
 */
export interface Gemm {
  readonly batch: number;
  readonly a: GemmMatrix;
  readonly b: GemmMatrix;
  readonly d: GemmMatrix;
  readonly beta: 0 | 1;
}

/** A matrix [rows, columns] of which rows or columns are neighbours; undefined for others. */
function matrix(
  [rows, columns]: readonly [number, number],
  [rowStride, columnStride]: readonly [number, number],
  batchStride: number,
): GemmMatrix | undefined {
  const lies = (
    inner: number,
    outer: number,
    innerStride: number,
    outerStride: number,
    transposed: boolean,
  ): GemmMatrix | undefined => {
    const leading = outer === 1 ? inner : outerStride;
    if ((inner > 1 && innerStride !== 1) || leading < inner) return undefined;
    return { rows: inner, columns: outer, leading, batchStride, transposed };
  };
  return lies(rows, columns, rowStride, columnStride, false) ??
    lies(columns, rows, columnStride, rowStride, true);
}

/** A product as cuBLASLt has it; undefined where its strides or its weights are not for it. */
export function gemmOf({ batch, m, n, k, a, b, weight, accumulates }: MatmulShape) {
  if (weight !== undefined) return undefined;
  const left = matrix([n, k], [b.nStride, b.kStride], b.batchStride);
  const right = matrix([k, m], [a.kStride, a.mStride], a.batchStride);
  if (left === undefined || right === undefined) return undefined;
  const d = { rows: n, columns: m, leading: n, batchStride: m * n, transposed: false };
  return { batch, a: left, b: right, d, beta: accumulates ? 1 : 0 } satisfies Gemm;
}

/**
 * Operations of the largest products that our kernels do faster than the library, on an H100. Sums
 * in place are the library's whatever their size.
 */
export const OWN_FLOPS = 2 ** 25;

/**
 * Operations below which a product with work on its result is faster in one kernel of ours than in
 * the library's and another one, which takes some microseconds and reads the result again.
 */
const FUSED_FLOPS = 2 ** 27;

/** Whether pointwise work is done inside a product, by our own kernel. */
export function isFused({ op, inputs: [a], outputs: [product] }: Node): boolean {
  if (op.kind !== "matmul") return false;
  const length = a.shape[a.shape.length - (op.transposeA ? 2 : 1)];
  return 2 * size(product.shape) * length < FUSED_FLOPS;
}

const isRowMajor = ({ strides, columnStride }: Address, m: number, n: number) =>
  (n === 1 || columnStride === 1) && (m === 1 || strides.length === 1 && strides[0] === n);

/**
 * The product of a step that cuBLASLt can do alone: with no work on its result, or added to what is
 * there. Undefined for other steps.
 */
export function plainProduct({ work }: Step, shape: MatmulShape): MatmulShape | undefined {
  if (work.kind !== "matmul" || gemmOf(shape) === undefined) return undefined;
  const { epilogue, accumulates = false } = work;
  if (epilogue === undefined) return shape;
  const { loop: { operands, values }, outputs } = epilogue;
  const places = [...operands, ...outputs.map((i) => values[i].address)];
  const { m, n } = shape;
  return accumulates && places.every((place) => isRowMajor(place, m, n))
    ? { ...shape, accumulates }
    : undefined;
}
