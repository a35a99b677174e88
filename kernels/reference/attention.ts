/** Causal softmax attention with grouped key/value heads. */

import { type AttentionOp, size } from "../../graph/tensor.ts";
import { addScaled, checkIndex, dot, flatIndex, type Value } from "./value.ts";

/** Softmax of scores, and the logarithm of the sum that it divides by. */
function softmax(scores: readonly number[]): { weights: number[]; logSumExp: number } {
  const top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const total = scores.reduce((sum, score) => sum + Math.exp(score - top), 0);
  const logSumExp = top + Math.log(total);
  return { weights: scores.map((score) => Math.exp(score - logSumExp)), logSumExp };
}

/** Calls `visit` for every query row: batch, time, head and the key/value head it reads. */
function eachQuery(
  q: Value,
  k: Value,
  visit: (b: number, t: number, h: number, kv: number) => void,
): void {
  const [batch, time, heads] = q.shape;
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < time; t++) {
      for (let h = 0; h < heads; h++) visit(b, t, h, Math.floor(h * k.shape[2] / heads));
    }
  }
}

/** Positions that the query at t sees: t−window+1 … t, or 0 … t. */
function seenBy(t: number, { window }: Pick<AttentionOp, "window">): number[] {
  const first = window === undefined ? 0 : Math.max(0, t - window + 1);
  return Array.from({ length: t - first + 1 }, (_, i) => first + i);
}

/** y = Σⱼ softmaxⱼ(scale·q·kⱼ)·vⱼ over the j that t sees → (y, log-sum-exp [batch, heads, time]). */
export function attention(q: Value, k: Value, v: Value, op: AttentionOp): Float64Array[] {
  const [batch, time, heads, width] = q.shape;
  const at = flatIndex(q.shape);
  const kvAt = flatIndex(k.shape);
  const normAt = flatIndex([batch, heads, time]);
  const y = new Float64Array(q.data.length);
  const norms = new Float64Array(batch * heads * time);
  eachQuery(q, k, (b, t, h, kv) => {
    const row = at(b, t, h, 0);
    const keys = seenBy(t, op).map((j) => kvAt(b, j, kv, 0));
    const { weights, logSumExp } = softmax(
      keys.map((key) => op.scale * dot(q.data, row, k.data, key, width)),
    );
    weights.forEach((p, i) => addScaled(y, row, p, v.data, keys[i], width));
    norms[normAt(b, h, t)] = logSumExp;
  });
  return [y, norms];
}

/**
 * (q, k, v, y, log-sum-exp, dy) → (dq, dk, dv). With p = exp(score − log-sum-exp) and dp = dy·v:
 * dscore = p·(dp − dy·y).
 */
export function attentionGradient(inputs: readonly Value[], op: AttentionOp): Float64Array[] {
  const { scale } = op;
  const [q, k, v, y, norms, dy] = inputs;
  const width = q.shape[3];
  const at = flatIndex(q.shape);
  const kvAt = flatIndex(k.shape);
  const normAt = flatIndex(norms.shape);
  const [dq, dk, dv] = [q, k, v].map(({ data }) => new Float64Array(data.length));
  eachQuery(q, k, (b, t, h, kv) => {
    const row = at(b, t, h, 0);
    const mean = dot(dy.data, row, y.data, row, width);
    for (const j of seenBy(t, op)) {
      const other = kvAt(b, j, kv, 0);
      const score = scale * dot(q.data, row, k.data, other, width);
      const p = Math.exp(score - norms.data[normAt(b, h, t)]);
      const dScore = p * (dot(dy.data, row, v.data, other, width) - mean) * scale;
      addScaled(dq, row, dScore, k.data, other, width);
      addScaled(dk, other, dScore, q.data, row, width);
      addScaled(dv, other, p, dy.data, row, width);
    }
  });
  return [dq, dk, dv];
}

/**
 * (q, k, v, keys, values, start) → (y, keys, values): token by token, its rows are written to the
 * caches [batch, kv heads, capacity, width] at its position, modulo the window where there is one;
 * then its query reads the rows of the positions that it sees.
 */
export function cachedAttention(inputs: readonly Value[], op: AttentionOp): Float64Array[] {
  const [q, k, v, keys, values, start] = inputs;
  const [, , kvHeads, width] = k.shape;
  const capacity = keys.shape[2];
  const at = flatIndex(q.shape);
  const kvAt = flatIndex(k.shape);
  const cacheAt = flatIndex(keys.shape);
  const [newKeys, newValues] = [keys.data.slice(), values.data.slice()];
  const rowOf = (position: number) => op.window === undefined ? position : position % op.window;
  const write = (b: number, t: number) => {
    const to = rowOf(start.data[b] + t);
    checkIndex("cached_attention: position", to, capacity);
    for (let h = 0; h < kvHeads; h++) {
      const from = kvAt(b, t, h, 0);
      newKeys.set(k.data.subarray(from, from + width), cacheAt(b, h, to, 0));
      newValues.set(v.data.subarray(from, from + width), cacheAt(b, h, to, 0));
    }
  };
  const y = new Float64Array(size(q.shape));
  eachQuery(q, k, (b, t, h, kv) => {
    if (h === 0) write(b, t);
    const row = at(b, t, h, 0);
    const rows = seenBy(start.data[b] + t, op).map((j) => cacheAt(b, kv, rowOf(j), 0));
    const scores = rows.map((key) => op.scale * dot(q.data, row, newKeys, key, width));
    softmax(scores).weights.forEach((p, i) => addScaled(y, row, p, newValues, rows[i], width));
  });
  return [y, newKeys, newValues];
}
