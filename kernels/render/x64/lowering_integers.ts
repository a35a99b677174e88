/** Lowers integers and conditions. */

import { i32 } from "../../language/language.ts";
import type { BinaryOp, Expr } from "../../language/syntax.ts";
import { memory } from "./addresses.ts";
import type { Operand, Register } from "./linear.ts";
import { lowerVector } from "./lowering_vectors.ts";
import type { Output } from "./output.ts";

type Pointer = Expr<"ptr">;

/** What holds where a comparison does not. */
export const OPPOSITE = { lt: "ge", ge: "lt", eq: "ne", ne: "eq" } as const;

/** A comparison of two integers. */
export interface Comparison {
  readonly x: Register;
  readonly y: Operand;
  readonly test: keyof typeof OPPOSITE;
}

/** A condition as a comparison of two integers. */
export function comparison(c: Output, condition: Expr): Comparison {
  if (condition.kind === "binary" && condition.a.type !== "f32") {
    if (condition.op === "lt" || condition.op === "eq") {
      // Not (a comparison) is written as a comparison with 0.
      if (condition.op === "eq" && isZero(condition.b) && isComparison(condition.a)) {
        const inner = comparison(c, condition.a);
        return { ...inner, test: OPPOSITE[inner.test] };
      }
      const x = integer(c, condition.a);
      return { x, y: integerOperand(c, condition.b), test: condition.op };
    }
  }
  return { x: integer(c, condition), y: { immediate: 0 }, test: "ne" };
}

/** An integer as an operand: a constant as it is. */
export function integerOperand(c: Output, e: Expr): Operand {
  return e.kind === "const" ? { immediate: e.value } : integer(c, e);
}

/** The locals that an integer expression is made of; false where it reads memory or a real. */
function collect(c: Output, e: Expr, used: number[]): boolean {
  switch (e.kind) {
    case "const":
      return true;
    case "local": {
      const alias = c.aliases.get(e.index);
      if (alias !== undefined) return collect(c, alias, used);
      used.push(e.index);
      return e.type === "ptr" || e.type === "i32";
    }
    case "binary":
      return collect(c, e.a, used) && collect(c, e.b, used);
    case "offset":
      return collect(c, e.base, used) && collect(c, e.bytes, used);
    case "select":
      return [e.mask, e.a, e.b].every((part) => collect(c, part, used));
    default:
      return false;
  }
}

/** An integer or a pointer in a register, `to` where one is given. */
export function integer(c: Output, e: Expr, to?: Register): Register {
  if (e.kind === "local") {
    const alias = c.aliases.get(e.index);
    if (alias !== undefined) return integer(c, alias, to);
    if (to === undefined) return c.local(e.index);
    c.emit({ op: "move" }, to, c.local(e.index));
    return to;
  }
  const used: number[] = [];
  if (e.kind !== "const" && collect(c, e, used)) {
    const held = c.hoisted(e, used, () => compute(c, e, c.register("integer")));
    if (held !== undefined) {
      if (to !== undefined) c.emit({ op: "move" }, to, held);
      return to ?? held;
    }
  }
  return compute(c, e, to ?? c.register("integer"));
}

/** A register that holds a constant from before all loops on. */
export function constantRegister(c: Output, value: number): Register {
  const compute = () => {
    const to = c.register("integer");
    c.emit({ op: "move" }, to, { immediate: value });
    return to;
  };
  return c.hoisted(i32(value), [], compute) ?? compute();
}

function compute(c: Output, e: Expr, to: Register): Register {
  switch (e.kind) {
    case "const":
      c.emit({ op: "move" }, to, { immediate: e.value });
      return to;
    case "load":
      c.emit({ op: "load" }, to, memory(c, e.at, e.offset));
      return to;
    case "unary":
      if (e.op !== "to_i32") break;
      c.emit({ op: "toInteger" }, to, lowerVector(c, e.a));
      return to;
    case "binary":
      return binary(c, e.op, e.a, e.b, to);
    case "select": {
      const { x, y, test } = comparison(c, e.mask);
      const [a, b] = [integer(c, e.a), integer(c, e.b)];
      c.emit({ op: "choose", condition: test, of: "integer" }, to, x, y, a, b);
      return to;
    }
    case "offset": {
      const at = memory(c, e as Pointer, 0);
      if (at.index === undefined) {
        c.emit({ op: "integer", fn: "add" }, to, at.base, { immediate: at.disp });
      } else c.emit({ op: "address" }, to, at);
      return to;
    }
  }
  throw new Error(`x64: no ${e.kind} of ${e.type}`);
}

function binary(c: Output, op: BinaryOp, a: Expr, b: Expr, to: Register): Register {
  switch (op) {
    case "lt":
    case "eq":
      if (a.type === "f32") {
        c.emit({ op: "flagReal", fn: op }, to, lowerVector(c, a), lowerVector(c, b));
      } else {
        const [x, y] = [integer(c, a), integerOperand(c, b)];
        c.emit({ op: "flag", condition: op }, to, x, y);
      }
      return to;
    case "add":
    case "and":
    case "mul": {
      const [x, y] = a.kind === "const" ? [b, a] : [a, b];
      c.emit({ op: "integer", fn: op }, to, integer(c, x), integerOperand(c, y));
      return to;
    }
    case "sub":
      c.emit({ op: "integer", fn: "sub" }, to, integer(c, a), integerOperand(c, b));
      return to;
    case "min":
    case "max": {
      // b < a ? b : a, or the other way round.
      const [x, y] = [integer(c, a), integer(c, b)];
      const [first, second] = op === "min" ? [y, x] : [x, y];
      c.emit({ op: "choose", condition: "lt", of: "integer" }, to, first, second, y, x);
      return to;
    }
    case "div":
      return divide(c, integer(c, a), b, to);
    case "rem": {
      const x = integer(c, a);
      if (b.kind === "const" && isPowerOf2(b.value)) {
        c.emit({ op: "integer", fn: "and" }, to, x, { immediate: b.value - 1 });
        return to;
      }
      const quotient = divide(c, x, b, c.register("integer"));
      const whole = c.register("integer");
      c.emit({ op: "integer", fn: "mul" }, whole, quotient, integerOperand(c, b));
      c.emit({ op: "integer", fn: "sub" }, to, x, whole);
      return to;
    }
    default:
      throw new Error(`x64: no ${op} of ${a.type}`);
  }
}

/**
 * x / divisor for x in 0 … 2³¹−1 by a multiplication with 2³¹⁺ˡ/divisor, rounded up (Granlund and
 * Montgomery, Division by Invariant Integers using Multiplication).
 */
function divide(c: Output, x: Register, divisor: Expr, to: Register): Register {
  if (divisor.kind !== "const" || divisor.value < 1) {
    throw new Error("x64: expected a division by a positive constant");
  }
  const log = Math.ceil(Math.log2(divisor.value));
  if (isPowerOf2(divisor.value)) {
    c.emit({ op: "shift", count: log }, to, x);
    return to;
  }
  const factor = c.register("integer");
  const product = c.register("integer");
  const value = Number(
    (2n ** BigInt(31 + log) + BigInt(divisor.value - 1)) / BigInt(divisor.value),
  );
  c.emit({ op: "move" }, factor, { immediate: value });
  c.emit({ op: "integer", fn: "mul" }, product, x, factor);
  c.emit({ op: "shift", count: 31 + log }, to, product);
  return to;
}

const isPowerOf2 = (value: number) => value > 0 && (value & (value - 1)) === 0;
const isZero = (e: Expr) => e.kind === "const" && e.value === 0;
const isComparison = (e: Expr) => e.kind === "binary" && (e.op === "lt" || e.op === "eq");
