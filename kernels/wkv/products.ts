/** Products of a block of RWKV tokens with a matrix-valued state or its gradient. */

import type { Block } from "../language/block.ts";
import { load, mul, offset, splat } from "../language/language.ts";
import {
  accumulate,
  eachColumns,
  eachRowTile,
  further,
  loadTile,
  NARROW_ROWS,
  ROWS,
  storeTile,
  tileOf,
} from "../products.ts";
import {
  at,
  F32,
  FOUR,
  type Index,
  lanesFor,
  type Pointer,
  type Rows,
  transpose,
  type V,
} from "../language/vectors.ts";

/** Tokens of the products with rows. */
const PRODUCT_ROWS = 16;
/** How 16 rows are cut into tiles that stay in registers. */
const ROW_TILES: readonly (readonly [first: number, rows: number])[] = [[0, 6], [6, 5], [11, 5]];

/**
 * rows[token] = S·laneᵗᵒᵏᵉⁿ, the products of a state's rows with `tokens` vectors (a multiple of 8)
 * that lie as lanes, [width][tokens]. Token t's rows begin at the pointer of its four. Scratch memory
 * has room for [width][tokens].
 */
export function stateTimesLanes(
  k: Block,
  width: number,
  tokens: number,
  state: Pointer,
  lanes: Rows,
  rows: (four: number) => Pointer,
  scratch: Pointer,
): void {
  const row = width * F32;
  const laneRow = tokens * F32;
  // As vectors of all tokens, if there are such, else by pairs of vectors.
  const narrow = lanesFor(k.lanes, tokens);
  const vectors = Math.min(2, tokens / narrow);
  const n = k.withLanes(narrow);
  k.for(0, laneRow, vectors * n.vectorBytes, (part) => {
    const b = k.let(further(lanes.first, part));
    const to = k.let(further(scratch, part));
    eachRowTile(k, width, (first, count) => {
      const tile = tileOf(n, count, vectors);
      accumulate(n, tile, {
        ...{ a: k.let(at(state, first, row)), aRow: row, aStep: F32 },
        ...{ b, bStep: lanes.stride, count: width },
      });
      storeTile(n, tile, k.let(at(to, first, laneRow)), laneRow);
    }, vectors === 1 ? NARROW_ROWS : ROWS);
  });
  k.for(0, row, FOUR, (bytes) => {
    const from = k.let(at(scratch, bytes, laneRow / F32));
    for (let four = 0; four < tokens; four += 4) {
      const square = [0, 1, 2, 3].map((i) => k.let(load("f32x4", from, i * laneRow + four * F32)));
      transpose(k, square).forEach((value, i) => {
        k.store(value, further(rows(four), bytes), i * row);
      });
    }
  });
}

/** How a block moves a state on. */
export interface Move {
  readonly from: Pointer;
  /** May be `from`. */
  readonly to: Pointer;
  /** A decay for every row or every column. */
  readonly decay: Pointer;
  readonly decayOf: "rows" | "columns";
  /** 16 rows each. */
  readonly left: Pointer;
  readonly right: Pointer;
  /** Columns that are moved, where not all are. */
  readonly columns?: number;
}

/** to[row, column] = from[row, column]·decay + Σₓ left[x][row]·right[x][column]. */
export function moveState(k: Block, width: number, move: Move): void {
  const { from, to, decay, decayOf, left, right, columns = width } = move;
  const row = width * F32;
  eachRowTile(k, width, (first, count) => {
    const [rows, out] = [k.let(at(from, first, row)), k.let(at(to, first, row))];
    const a = k.let(at(left, first, F32));
    const factorsOf = (length: number, value: (index: number) => V) =>
      Array.from({ length }, (_, i) => k.let(value(i)));
    const ofRows = decayOf === "columns" ? [] : factorsOf(count, (r) => {
      return splat(load("f32", k.let(at(decay, first, F32)), r * F32), k.vector);
    });
    eachColumns(k, columns, (bytes, vectors) => {
      const ofColumns = decayOf === "rows" ? [] : factorsOf(vectors, (v) => {
        return load(k.vector, further(decay, bytes), v * k.vectorBytes);
      });
      const tile = loadTile(
        k,
        count,
        vectors,
        k.let(further(rows, bytes)),
        row,
        (value, v, r) => mul(value, ofColumns[v] ?? ofRows[r]),
      );
      accumulate(k, tile, {
        ...{ a, aRow: F32, aStep: row },
        ...{ b: k.let(further(right, bytes)), bStep: row, count: PRODUCT_ROWS },
      });
      storeTile(k, tile, k.let(further(out, bytes)), row);
    });
  });
}

/** Adds to a tile of some of 16 rows at a column, given in bytes. */
export type AddToRows = (tile: readonly V[][], firstRow: number, bytes: Index) => void;

/** to[x] = left[x]·state for 16 rows, and what `more` adds to them; of the first columns. */
export function rowsTimesState(
  k: Block,
  width: number,
  left: Pointer,
  state: Pointer,
  to: Pointer,
  { columns = width, more }: { readonly columns?: number; readonly more?: AddToRows } = {},
): void {
  const row = width * F32;
  for (const [first, count] of ROW_TILES) {
    eachColumns(k, columns, (bytes, vectors) => {
      const tile = tileOf(k, count, vectors);
      accumulate(k, tile, {
        ...{ a: offset(left, first * row), aRow: row, aStep: F32 },
        ...{ b: k.let(further(state, bytes)), bStep: row, count: width },
      });
      more?.(tile, first, bytes);
      storeTile(k, tile, k.let(further(offset(to, first * row), bytes)), row);
    });
  }
}
