/** Matrix products by tiles that stay in registers: rows of splats times vectors. */

import type { Block } from "./language/block.ts";
import { fma, i32, load, rem, splat, sub } from "./language/language.ts";
import {
  advance,
  at,
  F32,
  type Index,
  type Pointer,
  type V,
  variable,
  zeros,
} from "./language/vectors.ts";

/** Rows of a tile. With 2 vectors a row, 12 sums leave registers for 2 vectors and a splat. */
export const ROWS = 6;
/** Rows of a tile with 1 vector a row, where the other factor may stay in memory. */
export const NARROW_ROWS = 12;

/** A product A·B of which a tile is computed. Strides are in bytes. */
export interface Product {
  readonly a: Pointer;
  readonly aRow: number;
  readonly aStep: number;
  readonly b: Pointer;
  readonly bStep: number;
  /** How many products are summed. */
  readonly count: Index | number;
}

/** sums[row][v] += Σₓ A[row, x]·B[x, v]. */
export function accumulate(k: Block, sums: readonly V[][], product: Product): void {
  const { aRow, aStep, bStep, count } = product;
  const [a, b] = [variable(k, product.a), variable(k, product.b)];
  const steps = (places: number) => {
    for (let place = 0; place < places; place++) {
      const left = (r: number) => {
        const value = splat(load("f32", a, r * aRow + place * aStep), k.vector);
        // What is used once may stay in memory.
        return sums[r].length === 1 ? value : k.let(value);
      };
      const right = (v: number) => k.let(load(k.vector, b, place * bStep + v * k.vectorBytes));
      // The shorter side stays in registers while the longer one passes.
      if (sums.length < sums[0].length) {
        const held = sums.map((_, r) => k.let(left(r)));
        sums[0].forEach((_, v) => {
          const passing = right(v);
          sums.forEach((row, r) => k.set(row[v], fma(held[r], passing, row[v])));
        });
      } else {
        const held = sums[0].map((_, v) => right(v));
        sums.forEach((row, r) => {
          const passing = left(r);
          row.forEach((sum, v) => k.set(sum, fma(passing, held[v], sum)));
        });
      }
    }
    advance(k, [[a, places * aStep], [b, places * bStep]]);
  };
  const whole = typeof count === "number"
    ? i32(count - count % 4)
    : k.let(sub(count, rem(count, i32(4))));
  k.for(0, whole, 4, () => steps(4));
  if (typeof count !== "number") k.for(whole, count, 1, () => steps(1));
  else if (count % 4 !== 0) steps(count % 4);
}

/** Sums of a tile, all 0. */
export function tileOf(k: Block, rows: number, vectors = 2): V[][] {
  return Array.from({ length: rows }, () => zeros(k, vectors));
}

/** Sums of a tile that start as what lies in rows, perhaps changed. */
export function loadTile(
  k: Block,
  rows: number,
  vectors: number,
  from: Pointer,
  stride: number,
  change: (value: V, v: number, r: number) => V = (value) => value,
): V[][] {
  return Array.from(
    { length: rows },
    (_, r) =>
      Array.from(
        { length: vectors },
        (_, v) => variable(k, change(load(k.vector, from, r * stride + v * k.vectorBytes), v, r)),
      ),
  );
}

/** Writes a tile to rows. */
export function storeTile(k: Block, sums: readonly V[][], to: Pointer, stride: number): void {
  sums.forEach((row, r) =>
    row.forEach((sum, v) => k.store(sum, to, r * stride + v * k.vectorBytes))
  );
}

/** Runs `body` for tiles of the rows 0 … count−1; the last has what is left. */
export function eachRowTile(
  k: Block,
  count: number,
  body: (row: Index, rows: number) => void,
  rows = ROWS,
): void {
  const whole = count - count % rows;
  k.for(0, whole, rows, (row) => body(row, rows));
  if (count !== whole) body(i32(whole), count - whole);
}

/** Runs `body` for pairs of vectors of a row, given where they begin; the last may be one. */
export function eachColumns(
  k: Block,
  width: number,
  body: (bytes: Index, vectors: number) => void,
): void {
  const whole = width - width % (2 * k.lanes);
  k.for(0, whole * F32, 2 * k.vectorBytes, (bytes) => body(bytes, 2));
  if (whole !== width) body(i32(whole * F32), 1);
}

/** The pointer that lies so many bytes further. */
export const further = (pointer: Pointer, bytes: Index): Pointer => at(pointer, bytes, 1);
