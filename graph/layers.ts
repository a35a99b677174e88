/** The operations that models are made of, as graph nodes: norms, rotary, attention, RWKV, losses. */

import { checkReal, checkWeight, fail, node, nodes } from "./node.ts";
import { sameShape, type Tensor } from "./tensor.ts";

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
  if (ids.dtype !== "i32" || table.dtype === "i32" || table.shape.length !== 2) {
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

function checkWindow(op: string, q: Tensor, window: number | undefined): void {
  if (window === undefined || Number.isInteger(window) && window >= 1) return;
  fail(op, [q], `a window of a whole number of keys above 0, not ${window}`);
}

/**
 * Causal softmax attention, q [batch, time, heads, width], k and v [batch, time, kv heads, width]
 * → [batch, time, heads, width]. Query head h reads key/value head ⌊h·kv/heads⌋. With a window w
 * the query at t sees the keys t−w+1 … t (Mistral 7B, arXiv 2310.06825).
 */
export function attention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  scale: number,
  window?: number,
): Tensor {
  checkHeads("attention", q, k, v);
  checkWindow("attention", q, window);
  const [batch, time, heads] = q.shape;
  // A window over the whole text is none.
  const limit = window !== undefined && window < time ? { window } : {};
  return nodes({ kind: "attention", scale, ...limit }, [q, k, v], [
    { shape: q.shape, dtype: "f32" },
    { shape: [batch, heads, time], dtype: "f32" },
  ])[0];
}

/**
 * Attention of new tokens over a cache: q, k, v [batch, time, heads, width] of tokens at positions
 * start … start+time−1, start [batch] i32; keys and values [batch, kv heads, capacity, width] hold
 * the earlier ones. Returns the output and the caches with the new rows written in place. With a
 * window w a query sees the latest w keys; caches have at most w rows, and position p lies in row
 * p mod w.
 */
export function cachedAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  keys: Tensor,
  values: Tensor,
  start: Tensor,
  scale: number,
  window?: number,
): { output: Tensor; keys: Tensor; values: Tensor } {
  checkHeads("cached_attention", q, k, v);
  checkWindow("cached_attention", q, window);
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
  if (window !== undefined && keys.shape[2] > window) {
    fail("cached_attention", [keys], `caches of at most ${window} rows, the window`);
  }
  if (start.dtype !== "i32" || !sameShape(start.shape, [batch])) {
    fail("cached_attention", [start], `i32 start [${batch}]`);
  }
  const [output, newKeys, newValues] = nodes(
    { kind: "cached_attention", scale, ...(window === undefined ? {} : { window }) },
    [q, k, v, keys, values, start],
    [q, keys, values].map(({ shape }) => ({ shape, dtype: "f32" as const })),
  );
  return { output, keys: newKeys, values: newValues };
}

/** Tokens between two kept states of the recurrence. */
export const WKV_CHUNK = 16;

/** The inputs of the RWKV-6 recurrence, each [batch, time, heads, width]. */
export interface Wkv6Inputs {
  readonly r: Tensor;
  readonly w: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
}

/** A recurrence: inputs [batch, time, heads, width], of which the first is r, and its state. */
function recurrence(
  kind: "wkv6" | "wkv7",
  list: readonly Tensor[],
  state: Tensor,
): { y: Tensor; state: Tensor } {
  const [r] = list;
  checkReal(kind, [...list, state]);
  const [batch, time, heads, width] = r.shape;
  if (r.shape.length !== 4 || list.some((t) => !sameShape(t.shape, r.shape))) {
    const count = { wkv6: "four", wkv7: "six" }[kind];
    fail(kind, list, `${count} tensors [batch, time, heads, width]`);
  }
  if (!sameShape(state.shape, [batch, heads, width, width])) {
    fail(kind, [r, state], `a state [${batch}, ${heads}, ${width}, ${width}]`);
  }
  const chunks = Math.ceil(time / WKV_CHUNK);
  const [y, last] = nodes({ kind }, [...list, state], [
    { shape: r.shape, dtype: "f32" },
    { shape: state.shape, dtype: "f32" },
    { shape: [batch, heads, chunks, width, width], dtype: "f32" },
  ]);
  return { y, state: last };
}

/**
 * S ← diag(w)·S + kᵀv, y = r·S per head, S [batch, heads, key, value] (paper, RAD-RWKV6; w is the
 * decay itself, in [0, 1]).
 */
export function wkv6({ r, w, k, v }: Wkv6Inputs, state: Tensor): { y: Tensor; state: Tensor } {
  return recurrence("wkv6", [r, w, k, v], state);
}

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
  return recurrence("wkv7", [r, w, k, v, kappa, a], state);
}

function checkHead(op: string, hidden: Tensor, head: Tensor): void {
  checkReal(op, [hidden]);
  checkWeight(op, [hidden, head], head);
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
