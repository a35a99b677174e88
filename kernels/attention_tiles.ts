/** Tiles of queries and of rows that attention and its gradient are made of. */

import {
  add,
  type Block,
  constant,
  div,
  i32,
  lessThan,
  load,
  min,
  mul,
  vector,
} from "./language.ts";
import { ROWS } from "./products.ts";
import {
  at,
  F32,
  type Index,
  type Pointer,
  type Rows,
  transpose,
  type V,
  VECTOR,
} from "./vectors.ts";

/** Queries of a tile: the lanes of two vectors. Bytes of a row of a tile. */
export const LANES = 8;
export const TILE_ROW = LANES * F32;

/** Lanes that are positions of a tile's queries. */
export const QUERY_LANES = [0, 4].map((first) => vector("f32x4", (i) => first + i));

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
 * Writes eight rows, times a factor, transposed: [width][8]. Rows beyond the last repeat it. `each`
 * sees what was read of four rows, before the factor.
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
    readonly each?: (half: number, lanes: readonly V[], place: Index) => void;
  },
): void {
  for (const half of [0, 1]) {
    const four = Array.from({ length: 4 }, (_, i) => {
      const row = min(add(first, i32(half * 4 + i)), i32(time - 1));
      return k.let(at(rows.first, row, rows.stride));
    });
    k.for(0, width, 4, (place) => {
      const read = four.map((row) => k.let(load("f32x4", at(row, place, F32))));
      each?.(half, read, place);
      const out = k.let(at(to, place, TILE_ROW));
      transpose(k, read).forEach((lanes, i) => {
        const value = factor === undefined ? lanes : mul(lanes, constant("f32x4", factor));
        k.store(value, out, i * TILE_ROW + half * VECTOR);
      });
    });
  }
}
