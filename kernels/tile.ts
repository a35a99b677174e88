/**
 * The register tile that matrix products are made of: a few rows of A times eight columns of a
 * packed B, summed over k in registers. Six rows of two vectors are what fits the 15 vector
 * registers that V8 has for its code: twelve sums, two vectors of B, one element of A.
 */

import {
  bitAnd,
  type Block,
  constant,
  type Expr,
  fma,
  i32,
  load,
  mul,
  offset,
  shuffle,
  splat,
} from "./language.ts";

type V4 = Expr<"f32x4">;
type Pointer = Expr<"ptr">;

/** Rows of a full tile. */
export const TILE_ROWS = 6;
/** Columns of a panel of packed B, which are two vectors. */
export const PANEL = 8;

/** Where a tile finds its operands. */
export interface TileOperands {
  /** Element (row, k) of A is at a + row·rowBytes + k·stepBytes. */
  readonly a: Pointer;
  readonly rowBytes: number;
  readonly stepBytes: number;
  /** Panel of B: k rows of eight floats. */
  readonly b: Pointer;
  /** The number of products to sum. */
  readonly length: Expr<"i32"> | number;
}

/**
 * Emits a tile: sums[row][vector] += Σₖ A[row, k]·B[k, vector]. `sums` are locals that hold the
 * initial values.
 */
export function emitTile(k: Block, sums: readonly (readonly V4[])[], operands: TileOperands): void {
  const { rowBytes, stepBytes, length } = operands;
  const vectors = sums[0].length;
  const a = k.variable("ptr");
  const b = k.variable("ptr");
  k.set(a, operands.a);
  k.set(b, operands.b);
  const steps = (count: number) => {
    for (let u = 0; u < count; u++) {
      const columns = Array.from(
        { length: vectors },
        (_, j) => k.let(load("f32x4", b, u * PANEL * 4 + j * 16)),
      );
      sums.forEach((row, r) => {
        const element = k.let(splat(load("f32", a, r * rowBytes + u * stepBytes)));
        row.forEach((sum, j) => k.set(sum, fma(element, columns[j], sum)));
      });
    }
    k.set(a, offset(a, count * stepBytes));
    k.set(b, offset(b, count * PANEL * 4));
  };
  if (typeof length === "number") {
    k.for(0, length - length % 4, 4, () => steps(4));
    if (length % 4 > 0) steps(length % 4);
  } else {
    const whole = k.let(bitAnd(length, i32(-4)));
    k.for(0, whole, 4, () => steps(4));
    k.for(whole, length, 1, () => steps(1));
  }
}

/** Locals for the sums of a tile, set to zero. */
export function zeroSums(k: Block, rows: number, vectors: number): V4[][] {
  return Array.from({ length: rows }, () =>
    Array.from({ length: vectors }, () => {
      const sum = k.variable("f32x4");
      k.set(sum, constant("f32x4", 0));
      return sum;
    }));
}

/** The 4×4 transpose of four vectors. */
export function transpose4(k: Block, rows: readonly V4[]): V4[] {
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
    const target = k.let(offset(to, mul(step, i32(TILE_ROWS * 4))));
    let r = 0;
    for (; mStride === 1 && r + 4 <= rows; r += 4) {
      k.store(load("f32x4", source, r * 4), target, r * 4);
    }
    for (; r < rows; r++) k.store(load("f32", source, r * mStride * 4), target, r * 4);
  });
}
