/** Packing of matrices, so that the tiles of a product (kernels/products.ts) read them in order. */

import type { Block } from "../language/block.ts";
import { bitAnd, constant, i32, load, mul, offset, shuffle } from "../language/language.ts";
import type { Expr } from "../language/syntax.ts";
import { ROWS } from "../products.ts";
import { advance, type Pointer, type V, variable } from "../language/vectors.ts";

/** Columns of a panel of packed B, which are two vectors. */
export const panelColumns = (k: Block): number => 2 * k.lanes;
/** Columns of the widest panel: blocks of columns are multiples of it. */
export const WIDEST_PANEL = 32;

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
 * Packs `columns` (at most a panel's) columns of B, k rows of them, into a panel padded with zeros.
 */
export function packPanel(
  k: Block,
  to: Pointer,
  from: Pointer,
  { kStride, nStride }: MatrixLayout,
  columns: number,
  length: Expr<"i32">,
): void {
  const zero = constant(k.vector, 0);
  const panel = panelColumns(k);
  const scalarStep = (row: Expr<"i32">) => {
    const source = k.let(offset(from, mul(row, i32(kStride * 4))));
    const target = k.let(offset(to, mul(row, i32(panel * 4))));
    const both = [0, k.vectorBytes];
    if (nStride === 1 && columns === panel) {
      for (const part of both) k.store(load(k.vector, source, part), target, part);
      return;
    }
    if (columns < panel) { for (const part of both) k.store(zero, target, part); }
    let j = 0;
    for (; nStride === 1 && j + 4 <= columns; j += 4) {
      k.store(load("f32x4", source, j * 4), target, j * 4);
    }
    for (; j < columns; j++) k.store(load("f32", source, j * nStride * 4), target, j * 4);
  };
  if (kStride !== 1) {
    k.for(0, length, 1, scalarStep);
    return;
  }
  const whole = k.let(bitAnd(length, i32(-4)));
  k.for(0, whole, 4, (row) => {
    const source = k.let(offset(from, mul(row, i32(4))));
    const target = k.let(offset(to, mul(row, i32(panel * 4))));
    for (let four = 0; four < panel; four += 4) {
      const rows = Array.from({ length: 4 }, (_, j) => {
        const n = four + j;
        return n < columns ? load("f32x4", source, n * nStride * 4) : constant("f32x4", 0);
      });
      transpose4(k, rows).forEach((v, step) => k.store(v, target, (step * panel + four) * 4));
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
  const [source, target] = [variable(k, from), variable(k, to)];
  const [sourceStep, targetStep] = [kStride * 4, ROWS * 4];
  const steps = (places: number) => {
    for (let place = 0; place < places; place++) {
      const [source0, target0] = [place * sourceStep, place * targetStep];
      const move = (type: "f32" | "f32x4", row: number) => {
        const value = k.let(load(type, source, source0 + row * mStride * 4));
        return () => k.store(value, target, target0 + row * 4);
      };
      // Two times four rows, of which some are the same.
      const moves = mStride === 1 && rows >= 4
        ? [move("f32x4", 0), move("f32x4", rows - 4)]
        : Array.from({ length: rows }, (_, row) => move("f32", row));
      for (const store of moves) store();
    }
    advance(k, [[source, places * sourceStep], [target, places * targetStep]]);
  };
  const whole = k.let(bitAnd(length, i32(-4)));
  k.for(0, whole, 4, () => steps(4));
  k.for(whole, length, 1, () => steps(1));
}
