/**
 * Stored weights (kernels/weights/weights.ts) as GPU kernels read them: words of 32 bits, of which shifts
 * make whole numbers and real ones, exactly.
 */

import { isBlocked, tensorBytes, WEIGHT_BLOCK, type WeightDType } from "../../graph/tensor.ts";
import {
  add,
  asF32,
  bitAnd,
  bitXor,
  div,
  equal,
  fromF16,
  i32,
  lessThan,
  min,
  mul,
  rem,
  select,
  shiftLeft,
  shiftRight,
  sub,
  toF32,
} from "../language/language.ts";
import { TILE_ROWS, weightRowBytes } from "../weights/weights.ts";
import { type GpuBlock, gpuKernel } from "./block.ts";
import type { GpuKernel } from "./kernel.ts";
import { f32, type Float, type Index, type Place } from "./language.ts";

/** A matrix of stored weights; rows lie side by side. */
export interface StoredMatrix {
  readonly dtype: WeightDType;
  readonly rows: number;
  readonly columns: number;
}

/** A number of a matrix, times 2 to a power with which it costs fewer operations to make. */
export interface Factor {
  readonly value: Float;
  readonly power: number;
}

/** Words of a block. */
export const blockWords = (dtype: "q8_0" | "q4_0"): number =>
  weightRowBytes(dtype, WEIGHT_BLOCK) / 4;

/** Both numbers of a word of bf16. */
export const bf16Pair = (word: Index): [Float, Float] => [
  asF32(shiftLeft(word, i32(16))),
  asF32(bitAnd(word, i32(-65536))),
];

// A whole number up to 2²³ in the last bits of 2²³: a subtraction makes it real, which is as fast as
// the arithmetic, while conversions are not on every GPU.
const WHOLE = 0x4b000000;
const wholeLess = (bits: Index, less: number): Float =>
  sub(asF32(bitXor(bits, i32(WHOLE))), f32(2 ** 23 + less));

/** Four bits of a word from bit `first` on, less 8. */
const quant4 = (word: Index, first: Index): Float =>
  wholeLess(bitAnd(shiftRight(word, first), i32(15)), 8);

/**
 * Bits of a word where they are, from bit `power` on, less half of what they hold: the quant times 2
 * to the power, exactly.
 */
const quantInPlace = (word: Index, bits: number, power: number): Factor => {
  const mask = (1 << bits) - 1 << power;
  return { value: wholeLess(bitAnd(word, i32(mask)), 1 << bits - 1 + power), power };
};

/** The four quants of a word of q8_0, in one run. */
export function q8Factors(k: GpuBlock, word: Index): (() => Factor[])[] {
  return [() => {
    const raised = k.let(bitXor(word, i32(0x80808080 | 0)));
    return [raised, k.let(shiftRight(raised, i32(16)))].flatMap((half) =>
      [0, 8].map((power) => quantInPlace(half, 8, power))
    );
  }];
}

/** The eight quants of a word of q4_0, in two runs: those of its bytes' lower and upper halves. */
export function q4Factors(k: GpuBlock, word: Index): (() => Factor[])[] {
  const halves = [word, k.let(shiftRight(word, i32(16)))];
  return [0, 4].map((first) => () =>
    halves.flatMap((half) => [0, 8].map((power) => quantInPlace(half, 4, first + power)))
  );
}

/** The f16 in the lower half (0) or in the upper one (1) of a word; a finite one. */
const half = (word: Index, which: Index): Float =>
  fromF16(bitAnd(shiftRight(word, shiftLeft(which, i32(4))), i32(0xffff)));

/** Where a block lies among all blocks of a matrix (kernels/weights/weights.ts). */
function placeOf(
  k: GpuBlock,
  { rows, columns }: StoredMatrix,
  row: Index,
  block: Index,
): Index {
  const first = k.let(bitAnd(row, i32(-TILE_ROWS)));
  const tile = tileRows(rows, first);
  const along = add(mul(first, i32(columns / WEIGHT_BLOCK)), mul(block, tile));
  return k.let(add(along, sub(row, first)));
}

/** Rows of the tile that begins with a row. */
export const tileRows = (rows: number, first: Index): Index =>
  rows % TILE_ROWS === 0 ? i32(TILE_ROWS) : min(sub(i32(rows), first), i32(TILE_ROWS));

/** The scale of a block by its place. */
export function scaleAt(
  k: GpuBlock,
  { dtype, rows, columns }: StoredMatrix & { readonly dtype: "q8_0" | "q4_0" },
  weights: Place<"i32">,
  place: Index,
): Float {
  const scales = rows * (columns / WEIGHT_BLOCK) * blockWords(dtype);
  const word = k.read(weights, add(i32(scales), shiftRight(place, i32(1))));
  return k.let(half(word, bitAnd(place, i32(1))));
}

/** An element of a matrix of stored weights. */
export function weightElement(
  k: GpuBlock,
  matrix: StoredMatrix,
  weights: Place<"i32">,
  row: Index,
  column: Index,
): Float {
  const { dtype, columns } = matrix;
  if (!isBlocked(dtype)) {
    const element = k.let(add(mul(row, i32(columns)), column));
    const word = k.read(weights, div(element, i32(2)));
    const [low, high] = bf16Pair(word);
    return k.let(select(equal(rem(element, i32(2)), i32(0)), low, high));
  }
  const place = placeOf(k, matrix, row, div(column, i32(WEIGHT_BLOCK)));
  const inside = k.let(rem(column, i32(WEIGHT_BLOCK)));
  const scale = scaleAt(k, { ...matrix, dtype }, weights, place);
  const first = mul(place, i32(blockWords(dtype)));
  if (dtype === "q8_0") {
    const word = k.read(weights, add(first, div(inside, i32(4))));
    const left = sub(i32(24), mul(rem(inside, i32(4)), i32(8)));
    return k.let(mul(toF32(shiftRight(shiftLeft(word, left), i32(24))), scale));
  }
  const halfBlock = i32(WEIGHT_BLOCK / 2);
  const byte = k.let(rem(inside, halfBlock));
  const word = k.read(weights, add(first, div(byte, i32(4))));
  const from = add(mul(rem(byte, i32(4)), i32(8)), mul(div(inside, halfBlock), i32(4)));
  return k.let(mul(quant4(word, from), scale));
}

/** Threads of a group. */
const THREADS = 256;

/** Operands weights, f32 [rows, columns]: makes f32 of stored weights. A thread has an element. */
export function wideningKernel(matrix: StoredMatrix): GpuKernel {
  const { dtype, rows, columns } = matrix;
  const elements = rows * columns;
  return {
    key: `widening ${JSON.stringify(matrix)}`,
    groups: Math.ceil(elements / THREADS),
    flops: 0,
    bytes: tensorBytes([rows, columns], dtype) + 4 * elements,
    code: () =>
      gpuKernel("widening", THREADS, { weights: "i32", to: "+f32" }, (k, { weights, to }) => {
        const element = k.let(add(mul(k.group, i32(THREADS)), k.thread));
        k.if(lessThan(element, i32(elements)), () => {
          const [row, column] = [div(element, i32(columns)), rem(element, i32(columns))];
          k.write(to, element, weightElement(k, matrix, weights, k.let(row), k.let(column)));
        });
      }),
  };
}
