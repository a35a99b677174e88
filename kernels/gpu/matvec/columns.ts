/** Columns of a matrix as threads read them for products of few rows: pieces of words side by side. */

import { WEIGHT_BLOCK } from "../../../graph/tensor.ts";
import type { MatmulShape } from "../../kernel.ts";
import { add, div, i32, min, mul, rem, shiftRight, sub } from "../../language/language.ts";
import { TILE_ROWS } from "../../weights/weights.ts";
import type { GpuBlock } from "../block.ts";
import type { Lanes } from "../fold.ts";
import type { Float, Index, Place } from "../language.ts";
import {
  bf16Pair,
  blockWords,
  type Factor,
  q4Factors,
  q8Factors,
  scaleAt,
  type StoredMatrix,
  tileRows,
} from "../weights.ts";

/** How the columns of a product are shared among the threads of a group. */
export interface ColumnPlan {
  /** Words of a piece, which a thread reads at once: 1, or the 4 of 16 bytes. */
  readonly words: number;
  /** Threads of a column, which take its pieces in turns, and columns of a group side by side. */
  readonly lanes: number;
  readonly columns: number;
  /** Such stretches of columns of a group. */
  readonly strips: number;
}

/** Neighbours along the length of a product. */
export interface Run {
  /** Where they begin, from the piece's first. */
  readonly offset: number;
  readonly factors: readonly Factor[];
}

/** What a piece is: runs, one after another, the scale of all, and where along the length they are. */
export interface Piece {
  readonly first: Index;
  readonly runs: readonly (() => Run)[];
  readonly scale?: Float;
}

/** A column as one thread walks it. */
export interface Column {
  /** The first piece of the thread. */
  readonly lane: Index;
  /** The column's number among those of a strip. */
  readonly column: Index;
  /** The threads of a column. */
  readonly threads: readonly Lanes[];
  /**
   * Starts to read the pieces of a stretch, from the thread's first on and then `lanes` apart. What is
   * returned starts to read piece `u` of a strip's column, and what that returns makes numbers of it.
   * Pieces beyond the last are the last, unless all are inside.
   */
  walk(from: Index, inside: boolean): (strip: number, u: number) => () => Piece;
}

/** Reads some words side by side. Four at once lie at a multiple of 16 bytes, if `aligned` says so. */
export type ReadWords = <T extends "f32" | "i32">(
  place: Place<T>,
  at: Index,
  count: number,
) => readonly (T extends "f32" ? Float : Index)[];

/** How words are read. */
export const wordReader = (k: GpuBlock, aligned: boolean): ReadWords => (place, at, count) => {
  if (aligned && count === 4) return k.read4(place, at) as never;
  const first = count === 1 ? at : k.let(at);
  return Array.from({ length: count }, (_, i) => k.read(place, add(first, i32(i)))) as never;
};

const exact = (value: Float): Factor => ({ value, power: 0 });

/** Columns without blocks: whole rows of the matrix, or neighbours in each of its rows. */
export function plainColumn(
  k: GpuBlock,
  { n, b, k: length, weight }: MatmulShape,
  place: Place,
  { lanes, columns, strips }: ColumnPlan,
  first: (strip: number) => Index,
): Column {
  const across = b.kStride !== 1;
  const [lane, column] = across
    ? [div(k.thread, i32(columns)), rem(k.thread, i32(columns))]
    : [rem(k.thread, i32(lanes)), div(k.thread, i32(lanes))];
  const own = { lane: k.let(lane), column: k.let(column) };
  const [toColumn, toWord] = weight === undefined ? [b.nStride, b.kStride] : [length / 2, 1];
  const starts = Array.from({ length: strips }, (_, strip) => {
    const wanted = min(add(first(strip), own.column), i32(n - 1));
    return k.let(mul(wanted, i32(toColumn)));
  });
  const last = i32((weight === undefined ? length : length / 2) - 1);
  return {
    ...own,
    threads: [{ lanes, apart: across ? columns : 1 }],
    walk: (from, inside) => (strip, u) => {
      const wanted = add(from, i32(u * lanes));
      const word = inside ? wanted : k.let(min(wanted, last));
      const at = add(starts[strip], mul(word, i32(toWord)));
      if (weight === undefined) {
        const value = k.read(place as Place<"f32">, at);
        return () => ({ first: word, runs: [() => ({ offset: 0, factors: [exact(value)] })] });
      }
      const bits = k.read(place as Place<"i32">, at);
      const factors = () => bf16Pair(bits).map(exact);
      return () => ({
        first: mul(word, i32(2)),
        runs: [() => ({ offset: 0, factors: factors() })],
      });
    },
  };
}

/** Columns in blocks, of which four lie side by side: a thread has a piece of each of its blocks. */
export function blockedColumn(
  k: GpuBlock,
  matrix: StoredMatrix & { readonly dtype: "q8_0" | "q4_0" },
  place: Place<"i32">,
  read: ReadWords,
  { words, lanes, strips }: ColumnPlan,
  first: (strip: number) => Index,
): Column {
  const { dtype, rows, columns } = matrix;
  const size = blockWords(dtype);
  const pieces = size / words;
  const ofTile = TILE_ROWS * lanes;
  const tile = k.let(div(k.thread, i32(ofTile)));
  const inTile = k.let(rem(k.thread, i32(ofTile)));
  const row = k.let(rem(div(inTile, i32(pieces)), i32(TILE_ROWS)));
  const inBlock = k.let(rem(k.thread, i32(pieces)));
  const lane = k.let(add(mul(div(inTile, i32(TILE_ROWS * pieces)), i32(pieces)), inBlock));
  const blocks = columns / WEIGHT_BLOCK;
  const last = rows - 1 - (rows - 1) % TILE_ROWS;
  const tiles = Array.from({ length: strips }, (_, strip) => {
    const wanted = k.let(min(add(first(strip), mul(tile, i32(TILE_ROWS))), i32(last)));
    const count = k.let(tileRows(rows, wanted));
    const own = min(row, sub(count, i32(1)));
    return { begin: k.let(add(mul(wanted, i32(blocks)), own)), count };
  });
  const makeFactors = dtype === "q8_0" ? q8Factors : q4Factors;
  return {
    lane,
    column: k.let(add(mul(tile, i32(TILE_ROWS)), row)),
    threads: [
      { lanes: pieces, apart: 1 },
      { lanes: lanes / pieces, apart: TILE_ROWS * pieces },
    ],
    walk: (from, inside) => {
      const firstBlock = k.let(shiftRight(from, i32(Math.log2(pieces))));
      return (strip, u) => {
        const { begin, count } = tiles[strip];
        const wanted = add(firstBlock, i32(u * lanes / pieces));
        const block = k.let(inside ? wanted : min(wanted, i32(blocks - 1)));
        const at = k.let(add(begin, mul(block, count)));
        const own = add(mul(at, i32(size)), mul(inBlock, i32(words)));
        const bits = read(place, own, words);
        const scale = scaleAt(k, matrix, place, at);
        return () => ({
          scale,
          first: add(mul(block, i32(WEIGHT_BLOCK)), mul(inBlock, i32(4 * words))),
          runs: bits.flatMap((word, w) => {
            const runs = makeFactors(k, word);
            return runs.map((factors, r) => () => ({
              offset: 4 * w + r * WEIGHT_BLOCK / 2,
              factors: factors(),
            }));
          }),
        });
      };
    },
  };
}
