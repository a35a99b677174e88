/** Causal softmax attention with grouped key/value heads. */

import { size } from "../../graph/tensor.ts";
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

/** y = Σⱼ softmaxⱼ≤ₜ(scale·q·kⱼ)·vⱼ → (y, log-sum-exp [batch, heads, time]). */
export function attention(q: Value, k: Value, v: Value, scale: number): Float64Array[] {
  const [batch, time, heads, width] = q.shape;
  const at = flatIndex(q.shape);
  const kvAt = flatIndex(k.shape);
  const normAt = flatIndex([batch, heads, time]);
  const y = new Float64Array(q.data.length);
  const norms = new Float64Array(batch * heads * time);
  eachQuery(q, k, (b, t, h, kv) => {
    const row = at(b, t, h, 0);
    const scores: number[] = [];
    for (let j = 0; j <= t; j++) {
      scores.push(scale * dot(q.data, row, k.data, kvAt(b, j, kv, 0), width));
    }
    const { weights, logSumExp } = softmax(scores);
    weights.forEach((p, j) => addScaled(y, row, p, v.data, kvAt(b, j, kv, 0), width));
    norms[normAt(b, h, t)] = logSumExp;
  });
  return [y, norms];
}

/**
 * (q, k, v, y, log-sum-exp, dy) → (dq, dk, dv). With p = exp(score − log-sum-exp) and dp = dy·v:
 * dscore = p·(dp − dy·y).
 */
export function attentionGradient(inputs: readonly Value[], scale: number): Float64Array[] {
  const [q, k, v, y, norms, dy] = inputs;
  const width = q.shape[3];
  const at = flatIndex(q.shape);
  const kvAt = flatIndex(k.shape);
  const normAt = flatIndex(norms.shape);
  const [dq, dk, dv] = [q, k, v].map(({ data }) => new Float64Array(data.length));
  eachQuery(q, k, (b, t, h, kv) => {
    const row = at(b, t, h, 0);
    const mean = dot(dy.data, row, y.data, row, width);
    for (let j = 0; j <= t; j++) {
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
 * (q, k, v, keys, values, start) → (y, keys, values): the new tokens' rows are written to the
 * caches [batch, kv heads, capacity, width] at start … start+time−1, then the query at position p
 * reads rows 0 … p.
 */
export function cachedAttention(inputs: readonly Value[], scale: number): Float64Array[] {
  const [q, k, v, keys, values, start] = inputs;
  const [batch, time, , width] = q.shape;
  const [, kvHeads, capacity] = keys.shape;
  const at = flatIndex(q.shape);
  const kvAt = flatIndex(k.shape);
  const cacheAt = flatIndex(keys.shape);
  const [newKeys, newValues] = [keys.data.slice(), values.data.slice()];
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < time; t++) {
      const position = start.data[b] + t;
      checkIndex("cached_attention: position", position, capacity);
      for (let h = 0; h < kvHeads; h++) {
        const from = kvAt(b, t, h, 0);
        const to = cacheAt(b, h, position, 0);
        newKeys.set(k.data.subarray(from, from + width), to);
        newValues.set(v.data.subarray(from, from + width), to);
      }
    }
  }
  const y = new Float64Array(size(q.shape));
  eachQuery(q, k, (b, t, h, kv) => {
    const row = at(b, t, h, 0);
    const scores: number[] = [];
    for (let j = 0; j <= start.data[b] + t; j++) {
      scores.push(scale * dot(q.data, row, newKeys, cacheAt(b, kv, j, 0), width));
    }
    softmax(scores).weights.forEach((p, j) =>
      addScaled(y, row, p, newValues, cacheAt(b, kv, j, 0), width)
    );
  });
  return [y, newKeys, newValues];
}
