/** Stored weights, value by value from their definition (kernels/weights/weights.ts). */

import { type Shape, WEIGHT_BLOCK, type WeightDType } from "../../graph/tensor.ts";

/** The f16 at a byte: (−1)^s · 2^(e−15) · (1 + f/1024), or f/1024 · 2^−14 where e is 0. */
function half(bytes: Uint8Array, at: number): number {
  const bits = bytes[at] | bytes[at + 1] << 8;
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, bits >> 10 & 31, (bits & 1023) / 1024];
  return exponent === 0 ? sign * fraction * 2 ** -14 : sign * (1 + fraction) * 2 ** (exponent - 15);
}

/** The bf16 at a byte: (−1)^s · 2^(e−127) · (1 + f/128), or f/128 · 2^−126 where e is 0. */
function brain(bytes: Uint8Array, at: number): number {
  const bits = bytes[at] | bytes[at + 1] << 8;
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, bits >> 7 & 255, (bits & 127) / 128];
  return exponent === 0
    ? sign * fraction * 2 ** -126
    : sign * (1 + fraction) * 2 ** (exponent - 127);
}

/** The finite numbers that stored weights [rows, columns] stand for. */
export function weights(
  dtype: WeightDType,
  bytes: Uint8Array,
  [rows, columns]: Shape,
): Float64Array {
  const quantBytes = rows * columns * (dtype === "q4_0" ? 1 / 2 : 1);
  const value = (row: number, column: number): number => {
    if (dtype === "bf16") return brain(bytes, 2 * (row * columns + column));
    const block = Math.floor(column / WEIGHT_BLOCK);
    const tile = 4 * Math.floor(row / 4);
    const tileRows = Math.min(4, rows - tile);
    const place = tile * columns / WEIGHT_BLOCK + block * tileRows + row - tile;
    const scale = half(bytes, quantBytes + 2 * place);
    const inBlock = column % WEIGHT_BLOCK;
    if (dtype === "q8_0") {
      const byte = bytes[place * WEIGHT_BLOCK + inBlock];
      return scale * (byte < 128 ? byte : byte - 256);
    }
    const byte = bytes[place * WEIGHT_BLOCK / 2 + inBlock % 16];
    return scale * ((inBlock < 16 ? byte % 16 : Math.floor(byte / 16)) - 8);
  };
  return Float64Array.from(
    { length: rows * columns },
    (_, i) => value(Math.floor(i / columns), i % columns),
  );
}

/** A whole number nearest to x, ties to even. */
function nearestEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  return rest < 0.5 || rest === 0.5 && below % 2 === 0 ? below : below + 1;
}

/** What activations are taken for beside q4_0 weights: by 32 values, d·q (kernels/matvec/activations.ts). */
export function wholeActivations(values: Float32Array): Float64Array {
  return Float64Array.from(values, (x, i) => {
    const first = i - i % WEIGHT_BLOCK;
    const block = values.subarray(first, first + WEIGHT_BLOCK);
    const largest = block.reduce((most, each) => Math.max(most, Math.abs(each)), 0);
    if (largest <= 1e-30) return 0;
    const inverse = Math.fround(127 / largest);
    return Math.fround(largest / 127) * nearestEven(Math.fround(x * inverse));
  });
}
