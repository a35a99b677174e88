/**
 * Weights [rows, columns] in fewer bits than f32, as they lie in device memory.
 *
 * - `bf16`: the upper half of every f32, rounded to the nearest, ties to even.
 * - `q8_0`: for every 32 values along a row a scale d (f16) and 32 signed bytes q: value d·q.
 * - `q4_0`: for every 32 values along a row a scale d (f16) and 16 bytes, of which the low halves are
 *   q of values 0–15 and the high halves q of values 16–31: value d·(q − 8).
 *
 * The numbers are those of the blocks of the same names in GGUF (ggml-quants.c of llama.cpp:
 * quantize_row_q8_0_ref, quantize_row_q4_0_ref). Blocks lie so that kernels read them in order: first
 * the bytes of all blocks, then all scales, both in tiles of four rows (the last one may have fewer):
 * along the rows, the first blocks of all rows of the tile, then the second ones, and so on.
 */

import { type Shape, tensorBytes, WEIGHT_BLOCK, type WeightDType } from "../../graph/tensor.ts";

/** Rows of a tile. */
export const TILE_ROWS = 4;

/** Bytes of a row without its scales. */
export function weightRowBytes(dtype: WeightDType | "f32", columns: number): number {
  switch (dtype) {
    case "f32":
      return 4 * columns;
    case "bf16":
      return 2 * columns;
    case "q8_0":
      return columns;
    case "q4_0":
      return columns / 2;
    default:
      return dtype satisfies never;
  }
}

/** The place of a row's block among all blocks of a matrix of so many rows. */
function placeOf(rows: number, blocks: number, row: number, block: number): number {
  const first = row - row % TILE_ROWS;
  return first * blocks + block * Math.min(TILE_ROWS, rows - first) + row - first;
}

/** The bits of an f32 rounded to bf16; a NaN stays one. */
function bf16Bits(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return bits >>> 16 | 0x40;
  return bits + 0x7fff + (bits >>> 16 & 1) >>> 16;
}

/** Rounds to the nearest whole number, halves away from zero, as C's roundf. */
const round = (x: number) => Math.sign(x) * Math.floor(Math.abs(x) + 0.5);

/** Writes a block's quants; returns its scale. */
type BlockEncoder = (values: Float32Array, into: Uint8Array) => number;

const encodeQ8: BlockEncoder = (values, into) => {
  let largest = 0;
  for (const x of values) largest = Math.max(largest, Math.abs(x));
  const scale = Math.fround(largest / 127);
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
  values.forEach((x, i) => into[i] = round(Math.fround(x * inverse)));
  return scale;
};

const encodeQ4: BlockEncoder = (values, into) => {
  let largest = 0;
  for (const x of values) if (Math.abs(x) > Math.abs(largest)) largest = x;
  const scale = Math.fround(largest / -8);
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
  const quant = (x: number) =>
    Math.min(15, Math.trunc(Math.fround(Math.fround(x * inverse) + 8.5)));
  const half = WEIGHT_BLOCK / 2;
  for (let i = 0; i < half; i++) into[i] = quant(values[i]) | quant(values[i + half]) << 4;
  return scale;
};

/**
 * Weights as they are stored.
 * @throws RangeError for values that no scale holds: larger than f16's 65504 times the largest
 * quant, infinite, or not numbers.
 */
export function encodeWeights(
  dtype: WeightDType,
  values: Float32Array,
  shape: Shape,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(tensorBytes(shape, dtype));
  if (dtype === "bf16") {
    const from = new Uint32Array(values.buffer, values.byteOffset, values.length);
    const to = new Uint16Array(bytes.buffer);
    for (let i = 0; i < to.length; i++) to[i] = bf16Bits(from[i]);
    return bytes;
  }
  const [rows, columns] = shape;
  const blocks = columns / WEIGHT_BLOCK;
  const encode = dtype === "q8_0" ? encodeQ8 : encodeQ4;
  const blockBytes = weightRowBytes(dtype, WEIGHT_BLOCK);
  const scales = new Float16Array(bytes.buffer, rows * blocks * blockBytes);
  for (let at = 0; at < rows * blocks; at++) {
    const block = values.subarray(at * WEIGHT_BLOCK, (at + 1) * WEIGHT_BLOCK);
    const place = placeOf(rows, blocks, Math.floor(at / blocks), at % blocks);
    const quants = bytes.subarray(place * blockBytes, (place + 1) * blockBytes);
    scales[place] = encode(block, quants);
    if (!block.every(Number.isFinite) || !Number.isFinite(scales[place])) {
      const found = block.find((x) => !Number.isFinite(x)) ?? block.find((x) => Math.abs(x) > 1e5);
      throw new RangeError(`${dtype} holds no ${found}, in a block at ${at * WEIGHT_BLOCK}`);
    }
  }
  return bytes;
}

/** The numbers that stored weights stand for; exact. */
export function decodeWeights(
  dtype: WeightDType,
  bytes: Uint8Array<ArrayBuffer>,
  shape: Shape,
): Float32Array<ArrayBuffer> {
  const [rows, columns] = shape;
  const values = new Float32Array(rows * columns);
  if (dtype === "bf16") {
    const from = new Uint16Array(bytes.buffer, bytes.byteOffset, values.length);
    const to = new Uint32Array(values.buffer);
    for (let i = 0; i < to.length; i++) to[i] = from[i] << 16;
    return values;
  }
  const blocks = columns / WEIGHT_BLOCK;
  const blockBytes = weightRowBytes(dtype, WEIGHT_BLOCK);
  const quantBytes = rows * blocks * blockBytes;
  const scales = new Float16Array(bytes.buffer, bytes.byteOffset + quantBytes);
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, quantBytes);
  const half = WEIGHT_BLOCK / 2;
  for (let at = 0; at < rows * blocks; at++) {
    const place = placeOf(rows, blocks, Math.floor(at / blocks), at % blocks);
    const scale = scales[place];
    for (let i = 0; i < WEIGHT_BLOCK; i++) {
      const packed = bytes[place * blockBytes + i % half];
      const quant = dtype === "q8_0"
        ? signed[place * blockBytes + i]
        : (i < half ? packed & 15 : packed >> 4) - 8;
      values[at * WEIGHT_BLOCK + i] = quant * scale;
    }
  }
  return values;
}
