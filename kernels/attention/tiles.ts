/** Tiles of queries and of rows that attention and its gradient are made of. */

import type { Block } from "../language/block.ts";
import { add, constant, div, i32, lessThan, load, min, mul, vector } from "../language/language.ts";
import { ROWS } from "../products.ts";
import {
  at,
  F32,
  FOUR,
  type Index,
  type Pointer,
  type Rows,
  transpose,
  type V,
} from "../language/vectors.ts";

/** Queries of a tile: the lanes of two vectors. */
export const tileQueries = (k: Block): number => 2 * k.lanes;
/** Bytes of a row of a tile. */
export const tileRow = (k: Block): number => 2 * k.vectorBytes;

/** Lanes that are positions of a tile's queries. */
export const queryLanes = (k: Block): V[] =>
  [0, k.lanes].map((first) => vector(k.vector, (i) => first + i));

/** A whole multiple of a size, at most a count that is not negative. */
export const downTo = (size: number, count: Index): Index => mul(div(count, i32(size)), i32(size));

/**
 * Runs `body` for tiles of ROWS rows from `begin`, a multiple of them, to `end`, where rows lie below
 * a `limit`. Only the tile that meets the limit has fewer rows; others may reach beyond `end`.
 */
export function eachTile(
  k: Block,
  begin: Index | number,
  end: Index | number,
  limit: { readonly first: Index; readonly rows: number },
  body: (row: Index, rows: number) => void,
): void {
  k.for(begin, end, ROWS, (row) => {
    const rest = limit.rows % ROWS;
    if (rest === 0) return body(row, ROWS);
    const beyond = lessThan(i32(limit.rows - ROWS), add(limit.first, row));
    k.if(beyond, () => body(row, rest), () => body(row, ROWS));
  });
}

/**
 * Writes a tile's rows, times a factor, transposed: [width][queries]. Rows beyond the last repeat
 * it. `each` sees what was read of each four rows, before the factor.
 */
export function packTile(
  k: Block,
  rows: Rows,
  width: number,
  time: number,
  first: Index,
  to: Pointer,
  { factor, each }: {
    readonly factor?: number;
    readonly each?: (four: number, lanes: readonly V[], place: Index) => void;
  },
): void {
  for (let four = 0; four < tileQueries(k) / 4; four++) {
    const rowsOfFour = Array.from({ length: 4 }, (_, i) => {
      const row = min(add(first, i32(four * 4 + i)), i32(time - 1));
      return k.let(at(rows.first, row, rows.stride));
    });
    k.for(0, width, 4, (place) => {
      const read = rowsOfFour.map((row) => k.let(load("f32x4", at(row, place, F32))));
      each?.(four, read, place);
      const out = k.let(at(to, place, tileRow(k)));
      transpose(k, read).forEach((lanes, i) => {
        const value = factor === undefined ? lanes : mul(lanes, constant("f32x4", factor));
        k.store(value, out, i * tileRow(k) + four * FOUR);
      });
    });
  }
}
