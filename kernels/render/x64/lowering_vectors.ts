/** Lowers expressions of vectors, and of f32, which are vectors of which one lane counts. */

import type { BinaryOp, Expr } from "../../language/syntax.ts";
import { memory } from "./addresses.ts";
import { realBits } from "./constants.ts";
import type { Bits } from "./encoding.ts";
import { lane, shuffle } from "./lanes.ts";
import type { Operand, Register } from "./linear.ts";
import { dot, spread } from "./lowering_bytes.ts";
import { comparison, integer } from "./lowering_integers.ts";
import { bitsOf, type Output } from "./output.ts";
import { vectorFunction } from "./vector_functions.ts";
import { vector, withImmediate } from "./vector_instructions.ts";

const COMMUTATIVE: readonly BinaryOp[] = ["add", "mul"];

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
      if (e.op === "to_f32") c.emit({ op: "toReal" }, to, integer(c, e.a));
      else vectorFunction(c, e.op, lowerVector(c, e.a), bits, to);
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
      lane(c, lowerVector(c, e.a), bitsOf(e.a.type), e.lane, to);
      return;
    case "half": {
      const a = lowerVector(c, e.a);
      if (e.half === 0) vector(c, "move", bits, to, a);
      else vector(c, "upperHalf", bitsOf(e.a.type), to, a);
      return;
    }
    case "shuffle": {
      const x = lowerVector(c, e.a);
      shuffle(c, x, e.a === e.b ? x : lowerVector(c, e.b), e.lanes, bits, to);
      return;
    }
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
    case "shl":
    case "shr": {
      const count = (b as Expr & { kind: "const" }).value;
      const name = op === "shl" ? "shiftLeft" : "shiftRight";
      return withImmediate(c, name, bits, count, to, lowerVector(c, a));
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
