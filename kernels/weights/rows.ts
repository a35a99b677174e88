/** Rows of stored weights (weights.ts) as f32: for embeddings, and before matrix products. */

import { isBlocked, tensorBytes, WEIGHT_BLOCK, type WeightDType } from "../../graph/tensor.ts";
import type { Kernel } from "../kernel.ts";
import { type Block, kernel } from "../language/block.ts";
import {
  add,
  bitAnd,
  div,
  equal,
  highQuants,
  i32,
  lessThan,
  loadBf16,
  loadF16,
  loadI8,
  loadPairs,
  lowQuants,
  mul,
  offset,
  splat,
  sub,
} from "../language/language.ts";
import type { KernelCode, Lanes } from "../language/syntax.ts";
import { at, F32, type Index, type Pointer, type V } from "../language/vectors.ts";
import { TILE_ROWS, weightRowBytes } from "./weights.ts";

/** Bytes of a scale. */
export const SCALE = 2;

/** A matrix of stored weights. */
export interface WeightMatrix {
  readonly dtype: WeightDType;
  readonly rows: number;
  readonly columns: number;
}

/** Where a row is: its values and scales, and the bytes from one block of them to the next. */
export interface WeightRow {
  readonly values: Pointer;
  readonly valueStep: number;
  readonly scales: Pointer;
  readonly scaleStep: number;
}

/** Values and scales of the tile that begins with a row. */
export function weightTile(
  { dtype, rows, columns }: WeightMatrix,
  base: Pointer,
  row: Index,
): { values: Pointer; scales: Pointer } {
  const rowBytes = weightRowBytes(dtype, columns);
  const scales = offset(base, rows * rowBytes);
  return {
    values: at(base, row, rowBytes),
    scales: at(scales, row, columns / WEIGHT_BLOCK * SCALE),
  };
}

/** Row `row` of a tile of so many rows. */
function rowOfTile(
  dtype: "q8_0" | "q4_0",
  { values, scales }: { values: Pointer; scales: Pointer },
  row: Index,
  rows: number,
): WeightRow {
  const blockBytes = weightRowBytes(dtype, WEIGHT_BLOCK);
  return {
    values: at(values, row, blockBytes),
    valueStep: rows * blockBytes,
    scales: at(scales, row, SCALE),
    scaleStep: rows * SCALE,
  };
}

/** A row of a matrix without blocks. */
function plainRow({ dtype, columns }: WeightMatrix, base: Pointer, row: Index): WeightRow {
  const values = at(base, row, weightRowBytes(dtype, columns));
  return { values, valueStep: 0, scales: base, scaleStep: 0 };
}

/**
 * Row `first` + `row` of a matrix, `first` a multiple of four, where so many rows from `first` on
 * are known to be there.
 */
export function weightRow(
  matrix: WeightMatrix,
  base: Pointer,
  first: Index,
  row: number,
  rows: number,
): WeightRow {
  const { dtype } = matrix;
  if (!isBlocked(dtype)) return plainRow(matrix, base, add(first, i32(row)));
  const inTile = row % TILE_ROWS;
  const tile = weightTile(matrix, base, add(first, i32(row - inTile)));
  return rowOfTile(dtype, tile, i32(inTile), Math.min(TILE_ROWS, rows - row + inTile));
}

/** Runs `body` with the row of a number that is only known when the kernel runs. */
export function anyWeightRow(
  k: Block,
  matrix: WeightMatrix,
  base: Pointer,
  row: Index,
  body: (row: WeightRow) => void,
): void {
  const { dtype, rows } = matrix;
  if (!isBlocked(dtype)) return body(plainRow(matrix, base, row));
  const first = k.let(bitAnd(row, i32(-TILE_ROWS)));
  const tile = weightTile(matrix, base, first);
  const run = (count: number) => body(rowOfTile(dtype, tile, k.let(sub(row, first)), count));
  const rest = rows % TILE_ROWS;
  if (rest === 0) run(TILE_ROWS);
  else k.if(lessThan(row, i32(rows - rest)), () => run(TILE_ROWS), () => run(rest));
}

/** Stores `count` values of a row from `from` on, both multiples of 32 where there are blocks. */
export function expandRow(
  k: Block,
  dtype: WeightDType,
  { values, valueStep, scales, scaleStep }: WeightRow,
  from: Index,
  count: Index,
  to: Pointer,
): void {
  if (dtype === "bf16") {
    const first = k.let(at(values, from, 2));
    const whole = k.let(bitAnd(count, i32(-k.lanes)));
    k.for(0, whole, k.lanes, (i) => k.store(loadBf16(k.vector, at(first, i, 2)), at(to, i, F32)));
    k.for(whole, count, 1, (i) => k.store(loadBf16("f32", at(first, i, 2)), at(to, i, F32)));
    return;
  }
  const first = k.let(div(from, i32(WEIGHT_BLOCK)));
  const end = k.let(div(add(from, count), i32(WEIGHT_BLOCK)));
  k.for(first, end, 1, (block) => {
    const scale = k.let(splat(loadF16("f32", at(scales, block, scaleStep)), k.vector));
    const source = k.let(at(values, block, valueStep));
    const target = k.let(at(to, sub(block, first), WEIGHT_BLOCK * F32));
    quants(k, dtype, source).forEach((part, i) => {
      k.store(mul(part, scale), target, i * k.vectorBytes);
    });
  });
}

/** The quants of a block in order, without their scale. */
export function quants(k: Block, dtype: "q8_0" | "q4_0", from: Pointer): V[] {
  const bytes = weightRowBytes(dtype, WEIGHT_BLOCK);
  const places = Array.from({ length: bytes / k.lanes }, (_, i) => i * k.lanes);
  if (dtype === "q8_0") return places.map((at) => loadI8(k.vector, from, at));
  const pairs = places.map((at) => k.let(loadPairs(k.vector, from, at)));
  return [...pairs.map(lowQuants), ...pairs.map(highQuants)];
}

/** Rows of a work item of `expansionKernel`: a tile. */
export const EXPANDED_ROWS = TILE_ROWS;

/**
 * Stores rows as f32. Operands: the weights, and where the first row that is asked for goes. An item
 * is four rows.
 */
export function expansionKernel(matrix: WeightMatrix): Kernel {
  const { rows, columns } = matrix;
  return {
    key: `expansion ${JSON.stringify(matrix)}`,
    code: (lanes) => expansionCode(matrix, lanes),
    items: Math.ceil(rows / EXPANDED_ROWS),
    scratchBytes: 0,
    flops: 0,
    bytes: tensorBytes([rows, columns], matrix.dtype) + rows * columns * F32,
  };
}

function expansionCode(matrix: WeightMatrix, lanes: Lanes): KernelCode {
  const { dtype, rows, columns } = matrix;
  return kernel("expansion", {
    ...{ weights: "ptr", to: "ptr" } as const,
    ...{ scratch: "ptr", begin: "i32", end: "i32" } as const,
  }, (k, { weights, to, begin, end }) => {
    k.for(begin, end, 1, (tile) => {
      const first = k.let(mul(tile, i32(EXPANDED_ROWS)));
      const out = k.let(at(to, sub(tile, begin), EXPANDED_ROWS * columns * F32));
      const expand = (count: number) => {
        for (let row = 0; row < count; row++) {
          const source = weightRow(matrix, weights, first, row, count);
          expandRow(k, dtype, source, i32(0), i32(columns), offset(out, row * columns * F32));
        }
      };
      const rest = rows % EXPANDED_ROWS;
      if (rest === 0) expand(EXPANDED_ROWS);
      else {
        const last = equal(tile, i32(Math.floor(rows / EXPANDED_ROWS)));
        k.if(last, () => expand(rest), () => expand(EXPANDED_ROWS));
      }
    });
  }, lanes);
}
