/** Numbers as GPUs round them before they multiply. */

import type { ProductPrecision } from "../../devices/device.ts";

/** Mantissa bits that a format has not. */
const DROPPED: Readonly<Record<ProductPrecision, number>> = { f32: 0, tf32: 13 };

/** The nearest number of a format; of two, the one farther from 0. */
export function rounded(x: number, precision: ProductPrecision): number {
  const bits = new Uint32Array(new Float32Array([x]).buffer);
  const unit = 2 ** DROPPED[precision];
  bits[0] = Math.round(bits[0] / unit) * unit;
  return new Float32Array(bits.buffer)[0];
}
