/** Functions of a vector that lies in a register, many of them tricks with the bits of its lanes. */

import type { UnaryOp } from "../../language/syntax.ts";
import { EXP2_SHIFT, HALF_ROOT_BITS, LOWEST_QUANT } from "../bits.ts";
import { realBits } from "./constants.ts";
import type { Bits } from "./encoding.ts";
import type { Register } from "./linear.ts";
import type { Output } from "./output.ts";
import { vector, withImmediate, word } from "./vector_instructions.ts";

/** Rounding to nearest, ties to even, without an exception. */
const NEAREST = 8;
/** The matrix of `mixBits` that moves a byte's first four bits to its end: two words of it. */
const UPPER_BITS = [0, 0x10204080];

/** A function of x. */
export function vectorFunction(
  c: Output,
  op: UnaryOp,
  x: Register,
  bits: Bits,
  to: Register,
): void {
  const word32 = (value: number) => word(c, bits, value);
  const temporary = () => c.register("vector");
  switch (op) {
    case "neg":
      return vector(c, "xor", bits, to, x, word32(0x80000000));
    case "abs":
      return vector(c, "and", bits, to, x, word32(0x7fffffff));
    case "sqrt":
      return vector(c, "sqrt", bits, to, x);
    case "nearest":
      return withImmediate(c, "round", bits, NEAREST, to, x);
    case "bits_to_f32": {
      // 2ⁿ: the last bits of n + 1.5·2²³ + 127 are n + 127, which belong into the exponent.
      const shifted = temporary();
      vector(c, "add", bits, shifted, x, word32(realBits(EXP2_SHIFT)));
      return withImmediate(c, "shiftLeft", bits, 23, to, shifted);
    }
    case "unsigned_bytes":
      return vector(c, "xor", bits, to, x, word32(0x80808080));
    case "low_nibbles":
      return vector(c, "andInteger", bits, to, x, word32(0x0f0f0f0f));
    case "high_nibbles": {
      if (c.mixes) {
        const matrix = { constant: c.pool.words(UPPER_BITS), broadcast: true };
        return withImmediate(c, "mixBits", bits, 0, to, x, matrix);
      }
      const shifted = temporary();
      withImmediate(c, "shiftRight", bits, 4, shifted, x);
      return vector(c, "andInteger", bits, to, shifted, word32(0x0f0f0f0f));
    }
    case "whole_to_f32":
      return vector(c, "convert", bits, to, x);
    case "low4":
    case "high4":
      return quants(c, op, x, bits, to);
    case "exponent": {
      // (bits − those of √½) >> 23, which is signed.
      const [above, shifted] = [temporary(), temporary()];
      vector(c, "subInteger", bits, above, x, word32(HALF_ROOT_BITS));
      withImmediate(c, "shiftRight", bits, 23, shifted, above);
      return vector(c, "convert", bits, to, shifted);
    }
    case "mantissa": {
      // ((bits − those of √½) & the fraction) + those of √½.
      const [above, fraction] = [temporary(), temporary()];
      vector(c, "subInteger", bits, above, x, word32(HALF_ROOT_BITS));
      vector(c, "andInteger", bits, fraction, above, word32(0x7fffff));
      return vector(c, "addInteger", bits, to, fraction, word32(HALF_ROOT_BITS));
    }
    case "bf16": {
      const raised = temporary();
      vector(c, "addInteger", bits, raised, x, word32(0x8000));
      return vector(c, "andInteger", bits, to, raised, word32(0xffff0000));
    }
    default:
      throw new Error(`x64: no ${op} of reals`);
  }
}

/** Four bits of every byte less 8. */
function quants(c: Output, op: "low4" | "high4", x: Register, bits: Bits, to: Register): void {
  const temporary = () => c.register("vector");
  let bare = x;
  if (op === "high4") withImmediate(c, "shiftRight", bits, 4, bare = temporary(), x);
  if (bits === 512) {
    // A permutation looks at the last four bits of its numbers: it takes them from a table.
    const table = Array.from({ length: 16 }, (_, i) => realBits(i - LOWEST_QUANT));
    return vector(c, "permuteLanes", bits, to, bare, { constant: c.pool.words(table) });
  }
  if (op === "low4") vector(c, "andInteger", bits, bare = temporary(), x, word(c, bits, 15));
  const whole = temporary();
  vector(c, "convert", bits, whole, bare);
  vector(c, "sub", bits, to, whole, word(c, bits, realBits(LOWEST_QUANT)));
}
