/** Which matrix products are done by tiles of bf16, and how they are cut into work items. */

import { TILES } from "./syntax.ts";
import type { MatmulShape } from "./kernel.ts";
import { MOST_ROWS } from "./matvec.ts";
import { isPackable, layoutOf, leftOf, PANEL, rightOf, STEP } from "./tile_layout.ts";

/** Places of k from which on they are multiplied by parts, and the places of a part. */
const LONG = 1024;
const PART = 512;
/** Bytes of a packed block, and of a block's sums, that stay in the second cache. */
const HELD_BYTES = 1280 * 1024;
const SUM_BYTES = 512 * 1024;
/** What packing a number costs, in products of two: in pieces as tiles want them, turned, stored. */
const PACKING = { straight: 26, turned: 45, stored: 12 };
/** The most rows that are held packed while columns pass: more are as many as columns are. */
const HELD_ROWS = 64;
/** Products below which other kernels are as fast. */
const LEAST = 2 ** 18;

/** Whether a product is faster by tiles. */
export function suitsTiles(shape: MatmulShape): boolean {
  const { batch, m, n, k, weight } = shape;
  return m > MOST_ROWS && Math.min(n, k) >= TILES.rows && batch * m * n * k >= LEAST &&
    // Pairs of bf16 are copied.
    (weight === undefined || k % 2 === 0) &&
    isPackable(leftOf(shape)) && isPackable(rightOf(shape));
}

/** How a product is cut: blocks of the result are work items, which go through k by parts. */
export interface TileBlocking {
  readonly rows: number;
  readonly rowBlocks: number;
  readonly columns: number;
  readonly columnBlocks: number;
  /** The factor of which all panels of a block are packed first; those of the other one pass by. */
  readonly held: "left" | "right";
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

/** The cut that keeps the threads busy and packs least. The parts of k do not depend on threads. */
export function tileBlockingOf(shape: MatmulShape, threads: number): TileBlocking {
  const { batch, m, n, k } = shape;
  const lengthBlocks = k <= LONG ? 1 : Math.ceil(k / PART);
  const length = lengthBlocks === 1 ? k : roundUp(Math.ceil(k / lengthBlocks), STEP);
  const [left, right] = [leftOf(shape), rightOf(shape)];
  const held = m <= HELD_ROWS ? "left" : "right";
  const heldBytes = layoutOf(held === "left" ? left : right).stepBytes / PANEL *
    roundUp(length, STEP) / STEP;
  const cost = (turned: boolean) => turned ? PACKING.turned : PACKING.straight;
  const costA = cost(shape.a.kStride !== 1);
  const costB = shape.weight !== undefined ? PACKING.stored : cost(shape.b.nStride !== 1);
  let best: TileBlocking | undefined;
  let least = Infinity;
  for (const rows of held === "left" ? cuts(m).slice(0, 1) : cuts(m)) {
    for (const columns of cuts(n)) {
      const sums = lengthBlocks > 1 ? 4 * rows * columns : 0;
      if (held === "right" && columns * heldBytes > HELD_BYTES && columns > PANEL) continue;
      if (sums > SUM_BYTES && Math.max(rows, columns) > PANEL) continue;
      const [rowBlocks, columnBlocks] = [Math.ceil(m / rows), Math.ceil(n / columns)];
      const items = batch * rowBlocks * columnBlocks;
      // The longest that a thread works; every item packs its part of both.
      const rounds = Math.ceil(items / threads);
      const work = rounds * (rows * columns + rows * costA + columns * costB);
      if (work < least) {
        least = work;
        best = { rows, rowBlocks, columns, columnBlocks, held, length, lengthBlocks };
      }
    }
  }
  return best!;
}
