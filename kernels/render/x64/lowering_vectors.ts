/** Lowers expressions of vectors, and of f32, which are vectors of which one lane counts. */

import type { BinaryOp, Expr, UnaryOp } from "../../syntax.ts";
import { EXP2_SHIFT, HALF_ROOT_BITS, LOWEST_QUANT } from "../bits.ts";
import { memory } from "./addresses.ts";
import { realBits } from "./constants.ts";
import type { Bits } from "./encoding.ts";
import type { Operand, Register } from "./linear.ts";
import { dot, spread } from "./lowering_bytes.ts";
import { comparison, integer } from "./lowering_integers.ts";
import type { VectorName } from "./opcodes.ts";
import { bitsOf, type Output } from "./output.ts";

const COMMUTATIVE: readonly BinaryOp[] = ["add", "mul"];

/** Rounding to nearest, ties to even, without an exception. */
const NEAREST = 8;

/** A value in a register, `to` where one is given. */
export function lowerVector(c: Output, e: Expr, to?: Register): Register {
  if (e.kind === "local") {
    const held = c.local(e.index);
    if (to === undefined) return held;
    vector(c, "move", bitsOf(e.type), to, held);
    return to;
  }
  const into = to ?? c.register("vector");
  lowerInto(c, e, into);
  return into;
}

function vector(
  c: Output,
  name: VectorName,
  bits: Bits,
  to: Register,
  ...from: readonly Operand[]
): void {
  c.emit({ op: "vector", name, bits }, to, ...from);
}

function withImmediate(
  c: Output,
  name: VectorName,
  bits: Bits,
  immediate: number,
  to: Register,
  ...from: readonly Operand[]
): void {
  c.emit({ op: "vector", name, bits, immediate }, to, ...from);
}

/** Whether an instruction can take an expression as its memory operand. */
function folds(c: Output, e: Expr): boolean {
  if (e.kind === "const") return c.evex && e.value !== 0;
  if (e.kind !== "load") return false;
  // A whole vector of memory is one for both forms, an element in all lanes for AVX-512 only.
  return e.as === "value" && (c.evex || e.type !== "f32") || e.as === "splat" && c.evex;
}

/** A value as the last operand of an instruction: memory where that works. */
function operand(c: Output, e: Expr): Operand {
  if (!folds(c, e)) return lowerVector(c, e);
  if (e.kind === "const") return { constant: c.pool.real(e.value), broadcast: true };
  if (e.kind !== "load") throw new Error("x64: an operand that is no memory");
  const place = memory(c, e.at, e.offset);
  return e.as === "splat" || e.type === "f32" ? { ...place, broadcast: true } : place;
}

function lowerInto(c: Output, e: Expr, to: Register): void {
  const bits = bitsOf(e.type);
  switch (e.kind) {
    case "const":
      if (Object.is(e.value, 0)) c.emit({ op: "zero" }, to);
      else vector(c, "splat", bits, to, { constant: c.pool.real(e.value) });
      return;
    case "vector":
      vector(c, "load", bits, to, { constant: c.pool.words(e.values.map(realBits)) });
      return;
    case "load":
      load(c, e, bits, to);
      return;
    case "unary":
      unary(c, e.op, e.a, bits, to);
      return;
    case "binary":
      binary(c, e, bits, to);
      return;
    case "fma": {
      const [first, second] = folds(c, e.a) && !folds(c, e.b) ? [e.b, e.a] : [e.a, e.b];
      const a = lowerVector(c, first);
      // One operand may be memory: a factor, or else what is added.
      const b = operand(c, second);
      const sum = typeof b === "number" ? operand(c, e.c) : lowerVector(c, e.c);
      c.emit({ op: "fma", bits }, to, a, b, sum);
      return;
    }
    case "select":
      select(c, e, bits, to);
      return;
    case "splat":
      if (e.a.kind === "load" && e.a.as === "value") {
        vector(c, "splat", bits, to, memory(c, e.a.at, e.a.offset));
      } else vector(c, "splat", bits, to, lowerVector(c, e.a));
      return;
    case "lane":
      lane(c, e.a, e.lane, to);
      return;
    case "half": {
      const a = lowerVector(c, e.a);
      if (e.half === 0) vector(c, "move", bits, to, a);
      else vector(c, "upperHalf", bitsOf(e.a.type), to, a);
      return;
    }
    case "shuffle":
      shuffle(c, e.a, e.b, e.lanes, bits, to);
      return;
    case "quads":
      e.parts.slice(1).reduce((joined, part, i) => {
        const next = i === e.parts.length - 2 ? to : c.register("vector");
        withImmediate(c, "insertQuad", bits, i + 1, next, joined, operand(c, part));
        return next;
      }, lowerVector(c, e.parts[0]));
      return;
    case "dot":
      dot(c, e, bits, to);
      return;
    case "spread":
      spread(c, e, bits, to);
      return;
    default:
      throw new Error(`x64: no ${e.kind} of ${e.type}`);
  }
}

function load(c: Output, e: Expr & { kind: "load" }, bits: Bits, to: Register): void {
  const from = memory(c, e.at, e.offset);
  const temporary = () => c.register("vector");
  switch (e.as) {
    case "value":
      return vector(c, e.type === "f32" ? "loadScalar" : "load", bits, to, from);
    case "splat":
      return vector(c, "splat", bits, to, from);
    case "quad":
      return vector(c, bits === 128 ? "load" : "loadQuad", bits, to, from);
    case "bf16": {
      const halves = temporary();
      vector(c, e.type === "f32" ? "splatHalf" : "widenHalves", bits, halves, from);
      return withImmediate(c, "shiftLeft", bits, 16, to, halves);
    }
    case "f16": {
      if (e.type !== "f32") return vector(c, "convertHalves", bits, to, from);
      const half = temporary();
      vector(c, "splatHalf", bits, half, from);
      return vector(c, "convertHalves", bits, to, half);
    }
    case "i8": {
      const wide = temporary();
      vector(c, "widenSignedBytes", bits, wide, from);
      return vector(c, "convert", bits, to, wide);
    }
    case "u8":
      return vector(c, "widenBytes", bits, to, from);
    default:
      e.as satisfies never;
  }
}

/** The same 32 bits in every lane: memory where that works. */
function word(c: Output, bits: Bits, value: number): Operand {
  const constant = c.pool.word(value);
  if (c.evex) return { constant, broadcast: true };
  const held = c.register("vector");
  vector(c, "splat", bits, held, { constant });
  return held;
}

function unary(c: Output, op: UnaryOp, a: Expr, bits: Bits, to: Register): void {
  const word32 = (value: number) => word(c, bits, value);
  const temporary = () => c.register("vector");
  if (op === "to_f32") return c.emit({ op: "toReal" }, to, integer(c, a));
  const x = lowerVector(c, a);
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

function binary(
  c: Output,
  { op, a, b }: Expr & { kind: "binary" },
  bits: Bits,
  to: Register,
): void {
  switch (op) {
    case "add":
    case "sub":
    case "mul":
    case "div": {
      const swaps = COMMUTATIVE.includes(op) && folds(c, a) && !folds(c, b);
      const [x, y] = swaps ? [b, a] : [a, b];
      return vector(c, op, bits, to, lowerVector(c, x), operand(c, y));
    }
    case "min":
    case "max":
      // The instruction gives its second operand where either is a NaN, so that goes last.
      return vector(c, op, bits, to, lowerVector(c, b), operand(c, a));
    case "pairs": {
      const lower = c.register("vector");
      withImmediate(c, "shiftRightUnsigned", bits, 16, lower, lowerVector(c, a));
      return vector(c, "or", bits, to, lower, lowerVector(c, b));
    }
    case "lt":
    case "eq":
      return c.emit({ op: "laneMask", fn: op, bits }, to, lowerVector(c, a), operand(c, b));
    default:
      throw new Error(`x64: no ${op} of reals`);
  }
}

function select(
  c: Output,
  { mask, a, b }: Expr & { kind: "select" },
  bits: Bits,
  to: Register,
): void {
  if (mask.type === "i32") {
    const { x, y, test } = comparison(c, mask);
    const from = [x, y, lowerVector(c, a), lowerVector(c, b)];
    return c.emit({ op: "choose", condition: test, of: "vector" }, to, ...from);
  }
  if (c.evex && mask.kind === "binary" && (mask.op === "lt" || mask.op === "eq")) {
    const [x, y] = [lowerVector(c, mask.a), operand(c, mask.b)];
    const from = [x, y, lowerVector(c, a), lowerVector(c, b)];
    return c.emit({ op: "laneChoose", fn: mask.op, bits }, to, ...from);
  }
  const lanes = lowerVector(c, mask);
  c.emit({ op: "laneSelect", bits }, to, lanes, lowerVector(c, a), lowerVector(c, b));
}

/** One lane as an f32. */
function lane(c: Output, a: Expr, index: number, to: Register): void {
  let from = lowerVector(c, a);
  let bits = bitsOf(a.type);
  let at = index;
  while (bits > 128) {
    const half = bits / 64;
    if (at >= half) {
      const upper = c.register("vector");
      vector(c, "upperHalf", bits, upper, from);
      from = upper;
      at -= half;
    }
    bits = bits / 2 as Bits;
  }
  if (at === 0) vector(c, "move", 128, to, from);
  else withImmediate(c, "permute", 128, at, to, from);
}

const immediateOf = (lanes: readonly number[]) =>
  lanes.reduce((bits, lane, i) => bits | (lane & 3) << 2 * i, 0);

/** Lanes of two vectors, the same in every group of four. */
function shuffle(
  c: Output,
  a: Expr,
  b: Expr,
  lanes: readonly number[],
  bits: Bits,
  to: Register,
): void {
  const x = lowerVector(c, a);
  const y = a === b ? x : lowerVector(c, b);
  const ofSecond = lanes.map((lane) => lane >= 4);
  const is = (...pattern: number[]) => pattern.every((lane, i) => lane === lanes[i]);
  if (x === y || ofSecond.every((second) => second === ofSecond[0])) {
    return withImmediate(c, "permute", bits, immediateOf(lanes), to, ofSecond[0] ? y : x);
  }
  if (is(0, 4, 1, 5)) return vector(c, "unpackLow", bits, to, x, y);
  if (is(2, 6, 3, 7)) return vector(c, "unpackHigh", bits, to, x, y);
  if (!ofSecond[0] && !ofSecond[1] && ofSecond[2] && ofSecond[3]) {
    return withImmediate(c, "shuffle", bits, immediateOf(lanes), to, x, y);
  }
  if (c.evex) {
    const count = bits / 32;
    const numbers = Array.from({ length: count }, (_, i) => {
      const lane = lanes[i % 4];
      return (lane >= 4 ? count : 0) + i - i % 4 + lane % 4;
    });
    const table = c.register("vector");
    vector(c, "load", bits, table, { constant: c.pool.words(numbers) });
    return c.emitLate({ op: "permute", bits }, to, [table, x, y], [x, y]);
  }
  const [left, right] = [c.register("vector"), c.register("vector")];
  withImmediate(c, "permute", bits, immediateOf(lanes), left, x);
  withImmediate(c, "permute", bits, immediateOf(lanes), right, y);
  const chosen = ofSecond.reduce((mask, second, i) => mask | (second ? 0x11 << i : 0), 0);
  withImmediate(c, "blend", bits, bits === 128 ? chosen & 15 : chosen, to, left, right);
}
