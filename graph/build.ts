/**
 * Functions that build graph nodes, with shape inference and its errors: pointwise operations,
 * reductions, views and products here, the operations of models in layers.ts.
 */

import {
  type BinaryFunction,
  type DType,
  isBlocked,
  isWeight,
  type Op,
  sameShape,
  type Shape,
  size,
  type Tensor,
  type UnaryFunction,
  WEIGHT_BLOCK,
} from "./tensor.ts";
import { checkNoWeight, checkReal, fail, node, nodes } from "./node.ts";

export { node, nodes };
export * from "./layers.ts";

/** A value from outside. Weights in fewer bits than f32 are matrices, blocks of 32 in each row. */
export function input(name: string, shape: Shape, dtype: DType = "f32"): Tensor {
  const made = node({ kind: "input", name }, [], shape, dtype);
  if (isWeight(dtype) && shape.length !== 2) fail("input", [made], "a matrix [rows, columns]");
  if (isBlocked(dtype) && shape[1] % WEIGHT_BLOCK !== 0) {
    fail("input", [made], `columns in blocks of ${WEIGHT_BLOCK}`);
  }
  return made;
}

/** One number, in every element of a shape. */
export function constant(value: number, shape: Shape = [1]): Tensor {
  return node({ kind: "constant", value }, [], shape);
}

/** 0, 1, 2, … along the last axis. */
export function iota(shape: Shape): Tensor {
  return node({ kind: "iota" }, [], shape);
}

function unary(fn: UnaryFunction, a: Tensor): Tensor {
  checkReal(fn, [a]);
  return node({ kind: "unary", fn }, [a], a.shape);
}

/** The same values, stored on their own. */
export function copy(a: Tensor): Tensor {
  checkNoWeight("copy", [a]);
  return node({ kind: "unary", fn: "copy" }, [a], a.shape, a.dtype);
}
export const neg = (a: Tensor): Tensor => unary("neg", a);
export const abs = (a: Tensor): Tensor => unary("abs", a);
export const exp = (a: Tensor): Tensor => unary("exp", a);
export const log = (a: Tensor): Tensor => unary("log", a);
export const sqrt = (a: Tensor): Tensor => unary("sqrt", a);
export const reciprocal = (a: Tensor): Tensor => unary("reciprocal", a);
export const tanh = (a: Tensor): Tensor => unary("tanh", a);
export const sigmoid = (a: Tensor): Tensor => unary("sigmoid", a);
/** x·σ(x). */
export const silu = (a: Tensor): Tensor => mul(a, sigmoid(a));

/** The shape that both broadcast to, numpy's way. */
function broadcastShape(op: string, a: Tensor, b: Tensor): Shape {
  const rank = Math.max(a.shape.length, b.shape.length);
  const shape: number[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a.shape[a.shape.length - rank + i] ?? 1;
    const y = b.shape[b.shape.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) fail(op, [a, b], "shapes that broadcast");
    shape.push(x === 1 ? y : x);
  }
  return shape;
}

/** Repeats axes of size 1 (and adds leading ones) up to a shape. */
export function expand(a: Tensor, shape: Shape): Tensor {
  if (sameShape(a.shape, shape)) return a;
  checkNoWeight("expand", [a]);
  const lead = shape.length - a.shape.length;
  const from = lead > 0 ? reshape(a, [...new Array(lead).fill(1), ...a.shape]) : a;
  if (lead < 0 || from.shape.some((n, i) => n !== 1 && n !== shape[i])) {
    fail("expand", [a], `a shape that broadcasts to [${shape.join(", ")}]`);
  }
  return sameShape(from.shape, shape) ? from : node({ kind: "expand" }, [from], shape, a.dtype);
}

type Operand = Tensor | number;

function binary(fn: BinaryFunction, a: Operand, b: Operand): Tensor {
  const x = typeof a === "number" ? constant(a) : a;
  const y = typeof b === "number" ? constant(b) : b;
  if (fn === "equal") checkNoWeight(fn, [x, y]);
  else checkReal(fn, [x, y]);
  const shape = broadcastShape(fn, x, y);
  return node({ kind: "binary", fn }, [expand(x, shape), expand(y, shape)], shape);
}

export const add = (a: Operand, b: Operand): Tensor => binary("add", a, b);
export const sub = (a: Operand, b: Operand): Tensor => binary("sub", a, b);
export const mul = (a: Operand, b: Operand): Tensor => binary("mul", a, b);
export const div = (a: Operand, b: Operand): Tensor => binary("div", a, b);
export const minimum = (a: Operand, b: Operand): Tensor => binary("min", a, b);
export const maximum = (a: Operand, b: Operand): Tensor => binary("max", a, b);
/** a < b as 0 or 1. */
export const less = (a: Operand, b: Operand): Tensor => binary("less", a, b);
/** a = b as 0 or 1; one side may be token ids. */
export const equal = (a: Operand, b: Operand): Tensor => binary("equal", a, b);

/** a, computed no earlier than b. */
export const after = (a: Tensor, b: Tensor): Tensor => binary("after", a, b);

/** condition ≠ 0 ? a : b. */
export function select(condition: Tensor, a: Operand, b: Operand): Tensor {
  checkNoWeight("select", [condition]);
  const branches = [a, b].map((x) => typeof x === "number" ? constant(x) : x);
  checkReal("select", branches);
  for (const branch of branches) {
    if (!sameShape(broadcastShape("select", condition, branch), condition.shape)) {
      fail("select", [condition, branch], "branches that broadcast to the condition");
    }
  }
  const expanded = branches.map((branch) => expand(branch, condition.shape));
  return node({ kind: "select" }, [condition, ...expanded], condition.shape);
}

function reduce(fn: "sum" | "max", a: Tensor, axes: readonly number[]): Tensor {
  checkReal(fn, [a]);
  const rank = a.shape.length;
  const over = [...new Set(axes.map((axis) => axis < 0 ? axis + rank : axis))].sort((x, y) =>
    x - y
  );
  if (over.some((axis) => !(axis >= 0 && axis < rank))) fail(fn, [a], `axes below ${rank}`);
  const kept = over.filter((axis) => a.shape[axis] !== 1);
  if (kept.length === 0) return a;
  const shape = a.shape.map((n, i) => over.includes(i) ? 1 : n);
  return node({ kind: "reduce", fn, axes: kept }, [a], shape);
}

/** Sum over axes, which stay with size 1. Negative axes count from the end. */
export const sum = (a: Tensor, axes: readonly number[]): Tensor => reduce("sum", a, axes);
/** Largest over axes, which stay with size 1. */
export const largest = (a: Tensor, axes: readonly number[]): Tensor => reduce("max", a, axes);
/** Mean over axes, which stay with size 1. */
export function mean(a: Tensor, axes: readonly number[]): Tensor {
  const total = sum(a, axes);
  return mul(total, size(total.shape) / size(a.shape));
}
/** Mean of all elements, [1]. */
export function meanAll(a: Tensor): Tensor {
  return mean(reshape(a, [size(a.shape)]), [0]);
}

/** The same elements in another shape. */
export function reshape(a: Tensor, shape: Shape): Tensor {
  if (sameShape(a.shape, shape)) return a;
  checkNoWeight("reshape", [a]);
  if (size(shape) !== size(a.shape)) fail("reshape", [a], `${size(shape)} elements`);
  return node({ kind: "reshape" }, [a], shape, a.dtype);
}

/** Axes in another order: output axis i is input axis axes[i]. */
export function permute(a: Tensor, axes: readonly number[]): Tensor {
  checkNoWeight("permute", [a]);
  const sorted = [...axes].sort((x, y) => x - y);
  if (axes.length !== a.shape.length || sorted.some((axis, i) => axis !== i)) {
    fail("permute", [a], `a permutation of its axes, found ${axes.join(", ")}`);
  }
  if (axes.every((axis, i) => axis === i)) return a;
  return node({ kind: "permute", axes }, [a], axes.map((axis) => a.shape[axis]), a.dtype);
}

/** Elements begin … end−1 along one axis. */
export function slice(a: Tensor, axis: number, begin: number, end: number): Tensor {
  checkNoWeight("slice", [a]);
  const at = axis < 0 ? axis + a.shape.length : axis;
  if (!(at >= 0 && at < a.shape.length)) {
    fail("slice", [a], `an axis below ${a.shape.length}, found ${axis}`);
  }
  if (!(begin >= 0 && begin < end && end <= a.shape[at])) {
    fail("slice", [a], `0 ≤ begin < end ≤ ${a.shape[at]}, found ${begin}, ${end}`);
  }
  if (begin === 0 && end === a.shape[at]) return a;
  const shape = a.shape.map((n, i) => i === at ? end - begin : n);
  return node(
    { kind: "slice", begin: shape.map((_, i) => i === at ? begin : 0) },
    [a],
    shape,
    a.dtype,
  );
}

/** Zeros around a tensor, up to a shape. */
export function pad(a: Tensor, before: readonly number[], shape: Shape): Tensor {
  checkReal("pad", [a]);
  const ranks = before.length === a.shape.length && shape.length === a.shape.length;
  if (!ranks || shape.some((n, i) => before[i] < 0 || before[i] + a.shape[i] > n)) {
    fail("pad", [a], `room in [${shape.join(", ")}] after [${before.join(", ")}]`);
  }
  return sameShape(a.shape, shape) ? a : node({ kind: "pad", before }, [a], shape);
}

/** Tensors one after another along an axis. */
export function concat(parts: readonly Tensor[], axis: number): Tensor {
  if (parts.length === 0) fail("concat", [], "at least one part");
  checkNoWeight("concat", parts);
  const [first] = parts;
  const at = axis < 0 ? axis + first.shape.length : axis;
  if (!(at >= 0 && at < first.shape.length)) {
    fail("concat", parts, `an axis below ${first.shape.length}, found ${axis}`);
  }
  for (const { shape, dtype } of parts) {
    const agrees = shape.length === first.shape.length && dtype === first.dtype &&
      shape.every((n, i) => i === at || n === first.shape[i]);
    if (!agrees) fail("concat", parts, "one element type and shapes that agree on the other axes");
  }
  if (parts.length === 1) return first;
  const total = parts.reduce((n, part) => n + part.shape[at], 0);
  const shape = first.shape.map((n, i) => i === at ? total : n);
  return node({ kind: "concat", axis: at }, parts, shape, first.dtype);
}

/**
 * Matrix product [..., M, K]·[..., K, N] → [..., M, N]. A transposed operand is stored
 * [..., K, M] or [..., N, K]: `matmul(x, weight, { transposeB: true })` is PyTorch's linear.
 * Leading axes must agree, or `b` has none. Stored weights are `b`, transposed, and take no gradient
 * through them.
 */
export function matmul(
  a: Tensor,
  b: Tensor,
  { transposeA = false, transposeB = false }: { transposeA?: boolean; transposeB?: boolean } = {},
): Tensor {
  const op: Op = { kind: "matmul", transposeA, transposeB };
  const stored = isWeight(b.dtype);
  checkReal("matmul", stored ? [a] : [a, b]);
  if (stored && (!transposeB || transposeA)) {
    fail("matmul", [a, b], "a stored weight as b with transposeB, and a as it is");
  }
  if (a.shape.length < 2 || b.shape.length < 2) fail("matmul", [a, b], "at least two axes each");
  const batch = a.shape.slice(0, -2);
  const [aRows, aColumns] = a.shape.slice(-2);
  const [bRows, bColumns] = b.shape.slice(-2);
  const [m, k] = transposeA ? [aColumns, aRows] : [aRows, aColumns];
  const [k2, n] = transposeB ? [bColumns, bRows] : [bRows, bColumns];
  if (k !== k2) fail("matmul", [a, b], `equal inner sizes, found ${k} and ${k2}`);
  if (b.shape.length === 2) {
    if (batch.length === 0) return node(op, [a, b], [m, n]);
    // Without a transposition the batch is just more rows.
    if (!transposeA) {
      return reshape(node(op, [reshape(a, [size(batch) * m, k]), b], [size(batch) * m, n]), [
        ...batch,
        m,
        n,
      ]);
    }
    return matmul(a, expand(b, [...batch, ...b.shape]), { transposeA, transposeB });
  }
  if (!sameShape(batch, b.shape.slice(0, -2))) fail("matmul", [a, b], "equal leading axes");
  const flat = size(batch);
  const out = node(op, [
    reshape(a, [flat, ...a.shape.slice(-2)]),
    reshape(b, [flat, ...b.shape.slice(-2)]),
  ], [flat, m, n]);
  return reshape(out, [...batch, m, n]);
}

/** x·weightᵀ + bias, weight [out, in] as PyTorch stores it. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const y = matmul(x, weight, { transposeB: true });
  return bias === undefined ? y : add(y, bias);
}
