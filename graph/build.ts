/** Functions that build graph nodes: shape inference and its errors live here. */

import {
  type BinaryFunction,
  describe,
  type DType,
  type Op,
  sameShape,
  type Shape,
  size,
  type Tensor,
  type UnaryFunction,
} from "./tensor.ts";

function fail(op: string, found: readonly Tensor[], expected: string): never {
  throw new Error(`graph: ${op} of ${found.map(describe).join(", ")}: expected ${expected}`);
}

/** Fails unless all are real numbers. */
function checkReal(op: string, found: readonly Tensor[]): void {
  if (found.some((t) => t.dtype !== "f32")) fail(op, found, "f32");
}

/** A node with several outputs. */
export function nodes(
  op: Op,
  inputs: readonly Tensor[],
  outputs: readonly { shape: Shape; dtype: DType }[],
): Tensor[] {
  const node = { op, inputs, outputs };
  return outputs.map(({ shape, dtype }, output) => ({ node, output, shape, dtype }));
}

/** A node with one output. */
export function node(op: Op, inputs: readonly Tensor[], shape: Shape, dtype: DType = "f32") {
  return nodes(op, inputs, [{ shape, dtype }])[0];
}

/** A value from outside. */
export function input(name: string, shape: Shape, dtype: DType = "f32"): Tensor {
  return node({ kind: "input", name }, [], shape, dtype);
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
export const copy = (a: Tensor): Tensor =>
  node({ kind: "unary", fn: "copy" }, [a], a.shape, a.dtype);
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
  if (fn !== "equal") checkReal(fn, [x, y]);
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
  if (size(shape) !== size(a.shape)) fail("reshape", [a], `${size(shape)} elements`);
  return node({ kind: "reshape" }, [a], shape, a.dtype);
}

/** Axes in another order: output axis i is input axis axes[i]. */
export function permute(a: Tensor, axes: readonly number[]): Tensor {
  const sorted = [...axes].sort((x, y) => x - y);
  if (axes.length !== a.shape.length || sorted.some((axis, i) => axis !== i)) {
    fail("permute", [a], `a permutation of its axes, found ${axes.join(", ")}`);
  }
  if (axes.every((axis, i) => axis === i)) return a;
  return node({ kind: "permute", axes }, [a], axes.map((axis) => a.shape[axis]), a.dtype);
}

/** Elements begin … end−1 along one axis. */
export function slice(a: Tensor, axis: number, begin: number, end: number): Tensor {
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
 * Leading axes must agree, or `b` has none.
 */
export function matmul(
  a: Tensor,
  b: Tensor,
  { transposeA = false, transposeB = false }: { transposeA?: boolean; transposeB?: boolean } = {},
): Tensor {
  const op: Op = { kind: "matmul", transposeA, transposeB };
  checkReal("matmul", [a, b]);
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

/** x/√(mean(x²)+ε)·weight over the last axis; weight [width]. */
export function rmsNorm(x: Tensor, weight: Tensor, epsilon: number): Tensor {
  checkReal("rms_norm", [x, weight]);
  if (!sameShape(weight.shape, x.shape.slice(-1))) fail("rms_norm", [x, weight], "weight [width]");
  return node({ kind: "rms_norm", epsilon }, [x, weight], x.shape);
}

/** Normalises every head of x [..., heads, width]; weight and bias [heads, width]. */
export function groupNorm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: number): Tensor {
  checkReal("group_norm", [x, weight, bias]);
  for (const p of [weight, bias]) {
    if (!sameShape(p.shape, x.shape.slice(-2))) fail("group_norm", [x, p], "[heads, width]");
  }
  return node({ kind: "group_norm", epsilon }, [x, weight, bias], x.shape);
}

/**
 * Rotary position embedding with split halves: x [batch, time, heads, width], cosine and sine
 * [batch or 1, time, width/2].
 */
export function rotary(x: Tensor, cosine: Tensor, sine: Tensor, inverse = false): Tensor {
  checkReal("rotary", [x, cosine, sine]);
  const [batch, time, , width] = x.shape;
  for (const t of [cosine, sine]) {
    const ok = t.shape.length === 3 && (t.shape[0] === 1 || t.shape[0] === batch) &&
      t.shape[1] === time && t.shape[2] * 2 === width;
    if (x.shape.length !== 4 || !ok) fail("rotary", [x, t], "[batch or 1, time, width/2]");
  }
  return node({ kind: "rotary", inverse }, [x, cosine, sine], x.shape);
}

/** Rows of a table [vocabulary, width] for ids [...] → [..., width]. */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  if (ids.dtype !== "i32" || table.dtype !== "f32" || table.shape.length !== 2) {
    fail("embedding", [table, ids], "a table [vocabulary, width] and i32 ids");
  }
  return node({ kind: "embedding" }, [table, ids], [...ids.shape, table.shape[1]]);
}

/** Gradient of `embedding` for its table. */
export function embeddingGradient(gradient: Tensor, ids: Tensor, vocabulary: number): Tensor {
  const width = gradient.shape[gradient.shape.length - 1];
  if (
    ids.dtype !== "i32" || gradient.dtype !== "f32" ||
    !sameShape(gradient.shape, [...ids.shape, width])
  ) {
    fail("embedding_gradient", [gradient, ids], "a gradient [..., width] and i32 ids [...]");
  }
  return node({ kind: "embedding_gradient" }, [gradient, ids], [vocabulary, width]);
}

function checkHeads(op: string, q: Tensor, k: Tensor, v: Tensor): void {
  checkReal(op, [q, k, v]);
  const ok = q.shape.length === 4 && k.shape.length === 4 && sameShape(k.shape, v.shape) &&
    q.shape[0] === k.shape[0] && q.shape[3] === k.shape[3] && q.shape[2] % k.shape[2] === 0;
  if (!ok) fail(op, [q, k, v], "[batch, time, heads, width], heads a multiple of key/value heads");
  if (q.shape[1] !== k.shape[1]) fail(op, [q, k], "one time");
}

/**
 * Causal softmax attention, q [batch, time, heads, width], k and v [batch, time, kv heads, width]
 * → [batch, time, heads, width]. Query head h reads key/value head ⌊h·kv/heads⌋.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, scale: number): Tensor {
  checkHeads("attention", q, k, v);
  const [batch, time, heads] = q.shape;
  return nodes({ kind: "attention", scale }, [q, k, v], [
    { shape: q.shape, dtype: "f32" },
    { shape: [batch, heads, time], dtype: "f32" },
  ])[0];
}

/**
 * Attention of new tokens over a cache: q, k, v [batch, time, heads, width] of tokens at positions
 * start … start+time−1, start [batch] i32; keys and values [batch, kv heads, capacity, width] hold
 * the earlier ones. Returns the output and the caches with the new rows written in place.
 */
export function cachedAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  keys: Tensor,
  values: Tensor,
  start: Tensor,
  scale: number,
): { output: Tensor; keys: Tensor; values: Tensor } {
  checkHeads("cached_attention", q, k, v);
  const [batch, , , width] = k.shape;
  for (const cache of [keys, values]) {
    const [b, heads, , w] = cache.shape;
    if (cache.shape.length !== 4 || b !== batch || heads !== k.shape[2] || w !== width) {
      fail("cached_attention", [k, cache], "a cache [batch, kv heads, capacity, width]");
    }
  }
  checkReal("cached_attention", [keys, values]);
  if (!sameShape(keys.shape, values.shape)) {
    fail("cached_attention", [keys, values], "caches of one shape");
  }
  if (start.dtype !== "i32" || !sameShape(start.shape, [batch])) {
    fail("cached_attention", [start], `i32 start [${batch}]`);
  }
  const [output, newKeys, newValues] = nodes(
    { kind: "cached_attention", scale },
    [q, k, v, keys, values, start],
    [q, keys, values].map(({ shape }) => ({ shape, dtype: "f32" as const })),
  );
  return { output, keys: newKeys, values: newValues };
}

/** Tokens between two kept states of the recurrence. */
export const WKV_CHUNK = 16;

/** The inputs of the RWKV-7 recurrence, each [batch, time, heads, width]. */
export interface Wkv7Inputs {
  readonly r: Tensor;
  readonly w: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly kappa: Tensor;
  readonly a: Tensor;
}

/**
 * S ← S·diag(w) − (S·κᵀ)(a⊙κ) + vᵀk, y = S·r per head, S [batch, heads, value, key]
 * (paper, RAD-RWKV7; w is the decay itself, in [0, 1]).
 */
export function wkv7(inputs: Wkv7Inputs, state: Tensor): { y: Tensor; state: Tensor } {
  const { r, w, k, v, kappa, a } = inputs;
  const list = [r, w, k, v, kappa, a];
  checkReal("wkv7", [...list, state]);
  const [batch, time, heads, width] = r.shape;
  if (r.shape.length !== 4 || list.some((t) => !sameShape(t.shape, r.shape))) {
    fail("wkv7", list, "six tensors [batch, time, heads, width]");
  }
  if (!sameShape(state.shape, [batch, heads, width, width])) {
    fail("wkv7", [r, state], `a state [${batch}, ${heads}, ${width}, ${width}]`);
  }
  const chunks = Math.ceil(time / WKV_CHUNK);
  const [y, last] = nodes({ kind: "wkv7" }, [...list, state], [
    { shape: r.shape, dtype: "f32" },
    { shape: state.shape, dtype: "f32" },
    { shape: [batch, heads, chunks, width, width], dtype: "f32" },
  ]);
  return { y, state: last };
}

function checkHead(op: string, hidden: Tensor, head: Tensor): void {
  checkReal(op, [hidden, head]);
  if (hidden.shape.length !== 2 || head.shape.length !== 2 || hidden.shape[1] !== head.shape[1]) {
    fail(op, [hidden, head], "hidden [tokens, width] and head [vocabulary, width]");
  }
}

/**
 * Cross-entropy of every token in nats, [tokens]: hidden [tokens, width], head [vocabulary, width],
 * targets i32 [tokens]. The logits are only ever held for a block of tokens.
 */
export function crossEntropy(hidden: Tensor, head: Tensor, targets: Tensor): Tensor {
  checkHead("cross_entropy", hidden, head);
  const tokens = hidden.shape[0];
  if (targets.dtype !== "i32" || !sameShape(targets.shape, [tokens])) {
    fail("cross_entropy", [hidden, targets], "i32 targets [tokens]");
  }
  return node({ kind: "cross_entropy" }, [hidden, head, targets], [tokens]);
}

/**
 * KL(teacher ‖ student) of every token in nats, [tokens], summed over the vocabulary (paper,
 * stage 2; temperature 1). The teacher's side is not differentiated.
 */
export function klDivergence(
  hidden: Tensor,
  head: Tensor,
  teacherHidden: Tensor,
  teacherHead: Tensor,
): Tensor {
  checkHead("kl_divergence", hidden, head);
  checkHead("kl_divergence", teacherHidden, teacherHead);
  if (hidden.shape[0] !== teacherHidden.shape[0] || head.shape[0] !== teacherHead.shape[0]) {
    fail("kl_divergence", [hidden, head, teacherHidden, teacherHead], "one vocabulary and time");
  }
  return node({ kind: "kl_divergence" }, [hidden, head, teacherHidden, teacherHead], [
    hidden.shape[0],
  ]);
}
