/** Which matrix products are done by tiles of bf16, and how they are cut into work items. */

import { TILES } from "../../language/syntax.ts";
import type { MatmulShape } from "../../kernel.ts";
import { isMatvec } from "../../matvec/matvec.ts";
import {
  type Factor,
  isPackable,
  layoutOf,
  liesInTiles,
  PANEL,
  STEP,
  tileProductOf,
} from "./layout.ts";

/** Places of k from which on they are multiplied by parts, and the places of a part. */
const LONG = 1024;
const PART = 512;
/** Bytes of a packed block, and of a block's sums, that stay in the second cache. */
const HELD_BYTES = 1280 * 1024;
const SUM_BYTES = 512 * 1024;
/** What packing a number costs, in products of two: in pieces as tiles want them, turned, stored. */
const PACKING = { straight: 26, turned: 45, stored: 12 };
/** Products, and rows, below which other kernels are as fast. */
const LEAST = 2 ** 18;
const LEAST_ROWS = 5;

/** Whether a product is faster by tiles. */
export function suitsTiles(shape: MatmulShape): boolean {
  const { batch, m, n, k, weight } = shape;
  const { left, right } = tileProductOf(shape);
  // Reading a matrix as it lies is faster for few rows, unless tiles do that themselves.
  const reads = isMatvec(shape) && !liesInTiles(left);
  return !reads && m >= LEAST_ROWS && Math.min(n, k) >= TILES.rows &&
    batch * m * n * k >= LEAST &&
    // Pairs of bf16 are copied.
    (weight === undefined || k % 2 === 0) &&
    isPackable(left) && isPackable(right);
}

/** How a product, as tiles see it, is cut: blocks of it are work items, which go through k by parts. */
export interface TileBlocking {
  readonly rows: number;
  readonly rowBlocks: number;
  readonly columns: number;
  readonly columnBlocks: number;
  /** Places of k of a part, and the parts. */
  readonly length: number;
  readonly lengthBlocks: number;
}

const roundUp = (size: number, step: number) => Math.ceil(size / step) * step;

/** Multiples of a panel that cut a size into 1, 2, 3, … parts. */
function cuts(size: number): number[] {
  const panels = Math.ceil(size / PANEL);
  return [...new Set(Array.from({ length: panels }, (_, i) => Math.ceil(panels / (i + 1))))]
    .map((each) => each * PANEL);
}

/** What packing a number of a factor costs. */
function packingCost(factor: Factor): number {
  if (factor.dtype !== "f32") return liesInTiles(factor) ? 0 : PACKING.stored;
  const straight = factor.side === "left" ? factor.along === 1 : factor.major === 1;
  return straight ? PACKING.straight : PACKING.turned;
}

/** The cut that keeps the threads busy and packs least. The parts of k do not depend on threads. */
export function tileBlockingOf(shape: MatmulShape, threads: number): TileBlocking {
  const { batch, m, n, k, left, right } = tileProductOf(shape);
  const lengthBlocks = k <= LONG ? 1 : Math.ceil(k / PART);
  const length = lengthBlocks === 1 ? k : roundUp(Math.ceil(k / lengthBlocks), STEP);
  const heldBytes = layoutOf(right).stepBytes / PANEL * roundUp(length, STEP) / STEP;
  const [leftCost, rightCost] = [packingCost(left), packingCost(right)];
  let best: TileBlocking | undefined;
  let least = Infinity;
  for (const rows of cuts(m)) {
    for (const columns of cuts(n)) {
      const sums = lengthBlocks > 1 ? 4 * rows * columns : 0;
      if (columns * heldBytes > HELD_BYTES && columns > PANEL) continue;
      if (sums > SUM_BYTES && rows > PANEL) continue;
      const [rowBlocks, columnBlocks] = [Math.ceil(m / rows), Math.ceil(n / columns)];
      const items = batch * rowBlocks * columnBlocks;
      // The longest that a thread works; every item packs its part of both.
      const rounds = Math.ceil(items / threads);
      const work = rounds * (rows * columns + rows * leftCost + columns * rightCost);
      if (work < least) {
        least = work;
        best = { rows, rowBlocks, columns, columnBlocks, length, lengthBlocks };
      }
    }
  }
  return best!;
}
