/** Operations on single elements, and reductions. */

import { type BinaryFunction, type Shape, size, type UnaryFunction } from "../../graph/tensor.ts";
import { eachPosition, flatIndex, type Value } from "./value.ts";

/** 0, 1, 2, … along the last axis. */
export function iota(shape: Shape): Float64Array {
  const width = shape[shape.length - 1];
  return new Float64Array(size(shape)).map((_, i) => i % width);
}

const UNARY: Readonly<Record<UnaryFunction, (x: number) => number>> = {
  copy: (x) => x,
  neg: (x) => -x,
  abs: Math.abs,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  reciprocal: (x) => 1 / x,
  tanh: Math.tanh,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
};

const BINARY: Readonly<Record<BinaryFunction, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  min: Math.min,
  max: Math.max,
  after: (a) => a,
  less: (a, b) => a < b ? 1 : 0,
  equal: (a, b) => a === b ? 1 : 0,
};

/** A function of every element. */
export function unary(fn: UnaryFunction, x: Value): Float64Array {
  const f = UNARY[fn];
  return x.data.map((value) => f(value));
}

/** A function of two elements at every position; NaN in `min` and `max` stays NaN. */
export function binary(fn: BinaryFunction, a: Value, b: Value): Float64Array {
  const f = BINARY[fn];
  return a.data.map((value, i) => f(value, b.data[i]));
}

/** condition ≠ 0 ? a : b. */
export function select(condition: Value, a: Value, b: Value): Float64Array {
  return condition.data.map((c, i) => c !== 0 ? a.data[i] : b.data[i]);
}

/** Sum or largest over axes, which stay with size 1. */
export function reduce(fn: "sum" | "max", x: Value, axes: readonly number[]): Float64Array {
  const shape = x.shape.map((n, axis) => axes.includes(axis) ? 1 : n);
  const at = flatIndex(shape);
  const out = new Float64Array(size(shape)).fill(fn === "sum" ? 0 : -Infinity);
  eachPosition(x.shape, (position, flat) => {
    const to = at(...position.map((i, axis) => axes.includes(axis) ? 0 : i));
    out[to] = fn === "sum" ? out[to] + x.data[flat] : Math.max(out[to], x.data[flat]);
  });
  return out;
}
