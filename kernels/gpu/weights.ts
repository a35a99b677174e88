/**
 * Stored weights (kernels/weights.ts) as GPU kernels read them: words of 32 bits, of which shifts
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
} from "../language.ts";
import { TILE_ROWS, weightRowBytes } from "../weights.ts";
import type { GpuKernel } from "./kernel.ts";
import { f32, type Float, type GpuBlock, gpuKernel, type Index, type Place } from "./language.ts";

/** A matrix of stored weights; rows lie side by side. */
export interface StoredMatrix {
  readonly dtype: WeightDType;
  readonly rows: number;
  readonly columns: number;
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
  sub(asF32(add(bits, i32(WHOLE))), f32(2 ** 23 + less));

/** The four signed bytes of a word. */
export function signedBytes(k: GpuBlock, word: Index): Float[] {
  const raised = k.let(bitXor(word, i32(0x80808080 | 0)));
  return [0, 1, 2, 3].map((i) => wholeLess(bitAnd(shiftRight(raised, i32(8 * i)), i32(255)), 128));
}

/** Four bits of a word from bit `first` on, less 8. */
export const quant4 = (word: Index, first: Index | number): Float =>
  wholeLess(bitAnd(shiftRight(word, typeof first === "number" ? i32(first) : first), i32(15)), 8);

/** The f16 in the lower half (0) or in the upper one (1) of a word; a finite one. */
const half = (word: Index, which: Index): Float =>
  fromF16(bitAnd(shiftRight(word, shiftLeft(which, i32(4))), i32(0xffff)));

/** Where a block lies among all blocks of a matrix (kernels/weights.ts). */
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
