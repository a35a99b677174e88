/** The code of loads, by what they make of memory. */

import type { Load, ValueType } from "../../language/syntax.ts";
import { f32Bytes, signed, simd, unsigned } from "./encoding.ts";
import type { Output } from "./output.ts";

/** What the exponent of an f32 counts less than that of an f16, as a factor: 2^(127 − 15). */
export const F16_BIAS = 2 ** 112;

/** Bytes that four lanes come from, where the next four come from the next ones; or else 0. */
export function loadBytes(as: Load): number {
  switch (as) {
    case "value":
      return 16;
    case "bf16":
    case "f16":
      return 8;
    case "i8":
    case "u8":
      return 4;
    case "splat":
    case "quad":
      return 0;
    default:
      return as satisfies never;
  }
}

/** A load from the address on the stack, some bytes further: of one value, or of four lanes. */
export function writeLoad(o: Output, as: Load, type: ValueType, offset: number): void {
  const at = unsigned(offset);
  const wide = type !== "f32";
  switch (as) {
    case "value": {
      const narrow = type === "i32" || type === "f32";
      const code = type === "i32" ? [0x28] : type === "f32" ? [0x2a] : simd(0x00);
      return o.emit(...code, narrow ? 2 : 4, ...at);
    }
    case "splat":
      return o.emit(...simd(0x09), 2, ...at);
    case "quad":
      return o.emit(...simd(0x00), 4, ...at);
    case "bf16":
      if (wide) o.emit(...simd(0x04), 3, ...at, 0x41, 16, ...simd(0xab));
      else o.emit(0x2f, 1, ...at, 0x41, 16, 0x74, 0xbe);
      return;
    case "f16": {
      // Sign and the other bits moved to their places, then the exponent's bias put right.
      const mask = [0x41, ...signed(0x8fffe000 | 0)];
      if (wide) {
        o.emit(...simd(0x03), 3, ...at, 0x41, 13, ...simd(0xab));
        o.emit(...mask, ...simd(0x11), ...simd(0x4e));
        o.vectorConstant(F16_BIAS);
        o.emit(...simd(0xe6));
      } else {
        o.emit(0x2e, 1, ...at, 0x41, 13, 0x74, ...mask, 0x71, 0xbe);
        o.emit(0x43, ...f32Bytes(F16_BIAS), 0x94);
      }
      return;
    }
    case "i8":
      // Four bytes, widened twice.
      return o.emit(...simd(0x5c), 2, ...at, ...simd(0x87), ...simd(0xa7), ...simd(0xfa));
    case "u8":
      return o.emit(...simd(0x5c), 2, ...at, ...simd(0x89), ...simd(0xa9));
    default:
      as satisfies never;
  }
}
