/** Matrix products by their sizes and strides, and how they are cut into work items. */

import { type DType, isBlocked, isWeight, WEIGHT_BLOCK } from "../../graph/tensor.ts";
import type { View } from "../../graph/view.ts";
import type { MatmulShape } from "../kernel.ts";
import { WIDEST_PANEL } from "./packing.ts";
import { ROWS } from "../products.ts";

/** Products summed before a block's sums go back to memory. */
const MAX_LENGTH = 640;
/** Pieces of work a thread: enough that one which is held up does not hold up the others. */
const PIECES_PER_THREAD = 2;
/** Share of a piece that threads wait at the end for one that was held up. */
const HELD_UP = 1 / 8;
/** Products below which more pieces than one a thread do not pay. */
const SMALL = 2 ** 21;
/** Bytes of a block of A, and of B, that stay in the second cache while it is walked. */
const BLOCK_BYTES = { a: 512 * 1024, b: 256 * 1024 };
/**
 * What an element costs before it is multiplied, in products: reading it from far memory, and
 * packing: A, and B where k runs along its rows or not.
 */
const PACKING = { aPlain: 10, a: 16, bAcross: 20, bAlong: 12 };

/** Sizes and strides of a product from the views of its operands, and how b is stored. */
export function matmulShape(
  a: View,
  b: View,
  transposeA: boolean,
  transposeB: boolean,
  dtype: DType = "f32",
): MatmulShape {
  const parts = ({ shape, strides }: View, transposed: boolean) => {
    const at = shape.length - 2;
    const [row, column] = transposed ? [at + 1, at] : [at, at + 1];
    const batched = shape.length === 3;
    return {
      batch: batched ? shape[0] : 1,
      batchStride: batched && shape[0] > 1 ? strides[0] : 0,
      rows: shape[row],
      columns: shape[column],
      rowStride: strides[row],
      columnStride: strides[column],
    };
  };
  const left = parts(a, transposeA);
  const right = parts(b, transposeB);
  return {
    batch: left.batch,
    m: left.rows,
    n: right.columns,
    k: left.columns,
    a: {
      batchStride: left.batchStride,
      mStride: left.rowStride,
      kStride: left.columnStride,
    },
    b: {
      batchStride: right.batchStride,
      nStride: right.columnStride,
      kStride: right.rowStride,
    },
    ...(isWeight(dtype) ? { weight: dtype } : {}),
  };
}

/** How a product is cut into work items. */
export interface Blocking {
  readonly rows: number;
  readonly rowBlocks: number;
  readonly columns: number;
  readonly columnBlocks: number;
  readonly length: number;
  readonly lengthBlocks: number;
  readonly packsA: boolean;
  /** Items that a thread takes at a time: row blocks of the same columns, which are packed once. */
  readonly grain: number;
}

/** Multiples of `step` that cut `size` into 1, 2, 3, … equal parts, the last one at `least`. */
function parts(size: number, step: number, least: number): number[] {
  const sizes: number[] = [];
  for (let count = 1;; count++) {
    const part = Math.ceil(Math.ceil(size / count) / step) * step;
    if (sizes.length > 0 && part < least) return sizes;
    if (sizes[sizes.length - 1] !== part) sizes.push(part);
    if (part <= step) return sizes;
  }
}

/** The cut with which no thread works long, for others or on packing. */
export function blockingOf(
  { batch, m, n, k, a, b, weight }: MatmulShape,
  threads: number,
): Blocking {
  const lengthBlocks = Math.ceil(k / MAX_LENGTH);
  const step = weight !== undefined && isBlocked(weight) ? WEIGHT_BLOCK : 4;
  const length = lengthBlocks === 1 ? k : Math.ceil(Math.ceil(k / lengthBlocks) / step) * step;
  const packsA = a.kStride !== 1;
  const ofA = packsA ? PACKING.a : PACKING.aPlain;
  const ofB = b.nStride === 1 ? PACKING.bAlong : PACKING.bAcross;
  const wanted = threads * (batch * m * n * k < SMALL ? 1 : PIECES_PER_THREAD);
  let best: Blocking | undefined;
  let least = Infinity;
  for (const rows of parts(m, ROWS, 4 * ROWS)) {
    for (const columns of parts(n, WIDEST_PANEL, WIDEST_PANEL)) {
      if (4 * Math.min(rows, m) * length > BLOCK_BYTES.a && rows > ROWS) continue;
      if (4 * columns * length > BLOCK_BYTES.b && columns > WIDEST_PANEL) continue;
      const [rowBlocks, columnBlocks] = [Math.ceil(m / rows), Math.ceil(n / columns)];
      const cut = { rows, rowBlocks, columns, columnBlocks, length, lengthBlocks, packsA };
      const item = rows * columns + rows * ofA;
      // Columns stay packed from item to item where all of k is one stretch.
      for (const grain of lengthBlocks === 1 ? divisors(rowBlocks) : [1]) {
        const pieces = batch * columnBlocks * rowBlocks / grain;
        const rounds = Math.ceil(pieces / threads) * Math.max(1, wanted / pieces);
        const cost = (rounds + HELD_UP) * (grain * item + columns * ofB);
        if (cost >= least) continue;
        least = cost;
        best = { ...cut, grain };
      }
    }
  }
  return best!;
}

const divisors = (count: number): number[] =>
  Array.from({ length: count }, (_, i) => i + 1).filter((d) => count % d === 0);

/**
 * Whether a library is faster than our kernels with 16 lanes. OpenBLAS is where the left factor
 * too is packed for every stretch of a long k, as in a weight's gradient of many tokens; stored
 * weights stay with it as well.
 */
export const suitsLibrary = ({ k, a, weight }: MatmulShape): boolean =>
  weight !== undefined || a.kStride !== 1 && k > MAX_LENGTH;

/** Bytes of f32 weights that a library is given at a time. */
const EXPANDED_BYTES = 512 * 1024;
/** Columns of such a part are a multiple of this: register tiles, and tiles of scales. */
const EXPANDED_STEP = 16;

/** Columns of stored weights that are made f32 at a time for a library. */
export function expandedColumns({ n, k }: MatmulShape, threads: number): number {
  const fit = Math.max(1, Math.floor(EXPANDED_BYTES / (4 * k * EXPANDED_STEP)));
  const share = Math.ceil(n / threads / EXPANDED_STEP);
  return Math.min(fit, share) * EXPANDED_STEP;
}
