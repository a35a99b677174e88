/** Packing of matrices, so that the tiles of a product (products.ts) read them in order. */

import {
  bitAnd,
  type Block,
  constant,
  type Expr,
  i32,
  load,
  mul,
  offset,
  shuffle,
} from "./language.ts";
import { ROWS } from "./products.ts";
import type { Pointer, V } from "./vectors.ts";

/** Columns of a panel of packed B, which are two vectors. */
export const PANEL = 8;

/** The 4×4 transpose of four vectors. */
export function transpose4(k: Block, rows: readonly V[]): V[] {
  const [a, b, c, d] = rows.map((row) => k.let(row));
  const low = [k.let(shuffle(a, b, [0, 4, 1, 5])), k.let(shuffle(c, d, [0, 4, 1, 5]))];
  const high = [k.let(shuffle(a, b, [2, 6, 3, 7])), k.let(shuffle(c, d, [2, 6, 3, 7]))];
  return [low, high].flatMap(([x, y]) => [
    shuffle(x, y, [0, 1, 4, 5]),
    shuffle(x, y, [2, 3, 6, 7]),
  ]);
}

/** How a matrix lies in memory, in elements. */
export interface MatrixLayout {
  readonly kStride: number;
  readonly nStride: number;
}

/**
 * Packs `columns` (at most eight) columns of B, k rows of them, into a panel padded with zeros.
 */
export function packPanel(
  k: Block,
  to: Pointer,
  from: Pointer,
  { kStride, nStride }: MatrixLayout,
  columns: number,
  length: Expr<"i32">,
): void {
  const zero = constant("f32x4", 0);
  const scalarStep = (row: Expr<"i32">) => {
    const source = k.let(offset(from, mul(row, i32(kStride * 4))));
    const target = k.let(offset(to, mul(row, i32(PANEL * 4))));
    if (nStride === 1 && columns === PANEL) {
      for (let j = 0; j < 2; j++) k.store(load("f32x4", source, j * 16), target, j * 16);
      return;
    }
    if (columns < PANEL) { for (let j = 0; j < 2; j++) k.store(zero, target, j * 16); }
    for (let j = 0; j < columns; j++) {
      k.store(load("f32", source, j * nStride * 4), target, j * 4);
    }
  };
  if (kStride !== 1) {
    k.for(0, length, 1, scalarStep);
    return;
  }
  const whole = k.let(bitAnd(length, i32(-4)));
  k.for(0, whole, 4, (row) => {
    const source = k.let(offset(from, mul(row, i32(4))));
    const target = k.let(offset(to, mul(row, i32(PANEL * 4))));
    for (let half = 0; half < 2; half++) {
      const rows = Array.from({ length: 4 }, (_, j) => {
        const n = half * 4 + j;
        return n < columns ? load("f32x4", source, n * nStride * 4) : zero;
      });
      transpose4(k, rows).forEach((v, step) => k.store(v, target, step * PANEL * 4 + half * 16));
    }
  });
  k.for(whole, length, 1, scalarStep);
}

/**
 * Packs six (or `rows`) rows of an A that is stored by columns, so that a tile reads it in order:
 * k steps of six floats.
 */
export function packRows(
  k: Block,
  to: Pointer,
  from: Pointer,
  { kStride, mStride }: { readonly kStride: number; readonly mStride: number },
  rows: number,
  length: Expr<"i32">,
): void {
  k.for(0, length, 1, (step) => {
    const source = k.let(offset(from, mul(step, i32(kStride * 4))));
    const target = k.let(offset(to, mul(step, i32(ROWS * 4))));
    let r = 0;
    for (; mStride === 1 && r + 4 <= rows; r += 4) {
      k.store(load("f32x4", source, r * 4), target, r * 4);
    }
    for (; r < rows; r++) k.store(load("f32", source, r * mStride * 4), target, r * 4);
  });
}
