/** The sums of a tile on their way to memory. */

import { add, div, i32, mul, rem } from "../../language/language.ts";
import type { GpuBlock } from "../block.ts";
import type { Float, Index } from "../language.ts";
import {
  LANES,
  linesInQuads,
  QUAD,
  type SquareSums,
  type Stretches,
  TILE_THREADS,
} from "./products.ts";

/** An element of a tile. */
export interface TileElement {
  readonly row: Index;
  readonly column: Index;
  readonly value: Float;
}

/**
 * Elements of a thread that are handled together, so that what they read arrives together: fewer where
 * sums take most registers.
 */
const togetherOf = (sums: number): number => sums < 64 ? 4 : 2;

/**
 * Hands every element of a tile to a thread, so that threads side by side have neighbours of a row:
 * through the shared memory of the products, as many rows at a time as it holds. `visit` gets
 * several elements at a time, and is called in few places, which keeps the code of long epilogues
 * short. A tile has less than 64 rows or a multiple of them.
 */
export function eachElement(
  k: GpuBlock,
  room: Stretches,
  { values, column, lane }: SquareSums,
  visit: (elements: readonly TileElement[]) => void,
): void {
  const [rows, columns] = [values.length * LANES, values[0].length * LANES];
  const fit = Math.floor(room.size / (LANES * columns));
  // Rows of a lane at a time: all, or a part of them.
  let part = values.length;
  while (part > fit) part /= 2;
  const own = k.let(rem(k.thread, i32(columns)));
  const ownRow = k.let(div(k.thread, i32(columns)));
  const step = TILE_THREADS / columns;
  const count = part * LANES / step;
  const together = Math.min(togetherOf(values.length * values[0].length), count);
  for (let first = 0; first < values.length; first += part) {
    if (first > 0) k.barrier();
    for (let r = 0; r < part; r++) {
      const line = k.let(mul(add(lane, i32(r * LANES)), i32(columns)));
      const sums = values[first + r];
      const inQuads = linesInQuads(columns) / LANES;
      for (let c = 0; c < inQuads; c += QUAD) {
        const [v0, v1, v2, v3] = sums.slice(c);
        k.write4(room.place, k.let(add(line, column(c))), [v0, v1, v2, v3]);
      }
      for (let c = inQuads; c < sums.length; c++) {
        k.write(room.place, add(line, column(c)), sums[c]);
      }
    }
    k.barrier();
    k.for(0, count, together, (index) => {
      visit(Array.from({ length: together }, (_, i) => {
        const line = k.let(add(ownRow, mul(add(index, i32(i)), i32(step))));
        const value = k.read(room.place, add(mul(line, i32(columns)), own));
        return { row: k.let(rowOf(rows, first, line)), column: own, value };
      }));
    });
  }
}

/** The row of a tile of which a line of a part, [row of a lane][lane], is. */
function rowOf(rows: number, first: number, line: Index): Index {
  if (linesInQuads(rows) === 0) return add(line, i32(first * LANES));
  const index = add(div(line, i32(LANES)), i32(first));
  return add(
    add(mul(rem(line, i32(LANES)), i32(QUAD)), rem(index, i32(QUAD))),
    mul(div(index, i32(QUAD)), i32(QUAD * LANES)),
  );
}
