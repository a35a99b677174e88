/**
 * The RWKV-7 recurrence token by token. Per head, with S [value, key]:
 * S ← S·diag(w) − (S·κᵀ)(a⊙κ) + vᵀk, y = S·r.
 */

import { WKV_CHUNK } from "../../graph/build.ts";
import { dot, flatIndex, type Value } from "./value.ts";

/** One head's tensors at one token: rows of the width. */
type Token = Readonly<Record<"r" | "w" | "k" | "v" | "kappa" | "a", Float64Array>>;

function tokenAt(inputs: readonly Value[], b: number, t: number, h: number): Token {
  const at = flatIndex(inputs[0].shape)(b, t, h, 0);
  const width = inputs[0].shape[3];
  const [r, w, k, v, kappa, a] = inputs.map(({ data }) => data.subarray(at, at + width));
  return { r, w, k, v, kappa, a };
}

/** The state [value, key] after a token. */
function step(state: Float64Array, { w, k, v, kappa, a }: Token): Float64Array {
  const width = w.length;
  const next = new Float64Array(state.length);
  for (let i = 0; i < width; i++) {
    const removed = dot(state, i * width, kappa, 0, width);
    for (let j = 0; j < width; j++) {
      next[i * width + j] = state[i * width + j] * w[j] - removed * a[j] * kappa[j] + v[i] * k[j];
    }
  }
  return next;
}

/** (r, w, k, v, κ, a, state) → (y, last state, states before every chunk of tokens). */
export function wkv7(inputs: readonly Value[]): Float64Array[] {
  const [batch, time, heads, width] = inputs[0].shape;
  const before = inputs[6].data;
  const chunks = Math.ceil(time / WKV_CHUNK);
  const matrix = width * width;
  const at = flatIndex(inputs[0].shape);
  const y = new Float64Array(inputs[0].data.length);
  const last = new Float64Array(before.length);
  const kept = new Float64Array(batch * heads * chunks * matrix);
  for (let head = 0; head < batch * heads; head++) {
    const [b, h] = [Math.floor(head / heads), head % heads];
    let state: Float64Array = before.slice(head * matrix, (head + 1) * matrix);
    for (let t = 0; t < time; t++) {
      if (t % WKV_CHUNK === 0) kept.set(state, (head * chunks + t / WKV_CHUNK) * matrix);
      const token = tokenAt(inputs.slice(0, 6), b, t, h);
      state = step(state, token);
      for (let i = 0; i < width; i++) {
        y[at(b, t, h, i)] = dot(state, i * width, token.r, 0, width);
      }
    }
    last.set(state, head * matrix);
  }
  return [y, last, kept];
}

/**
 * The reverse of one token. Adds to `d`, the gradients of the token's rows, and returns the
 * gradient of the state before it from that of the state after it. With u = S·κᵀ and b = a⊙κ:
 * dw = Σᵢ dSᵢ⊙Sᵢ, du = −dS·bᵀ, db = −u·dS, dκ = a⊙db + du·S.
 */
function stepBack(
  before: Float64Array,
  after: Float64Array,
  token: Token,
  dy: Float64Array,
  dAfter: Float64Array,
  d: Token,
): Float64Array {
  const { r, w, k, v, kappa, a } = token;
  const width = w.length;
  const dBefore = new Float64Array(before.length);
  for (let i = 0; i < width; i++) {
    const row = i * width;
    const u = dot(before, row, kappa, 0, width);
    let du = 0;
    for (let j = 0; j < width; j++) {
      const ds = dAfter[row + j] + dy[i] * r[j];
      du -= ds * a[j] * kappa[j];
      d.r[j] += dy[i] * after[row + j];
      d.v[i] += ds * k[j];
      d.k[j] += ds * v[i];
      d.w[j] += ds * before[row + j];
      d.a[j] -= u * ds * kappa[j];
      d.kappa[j] -= u * ds * a[j];
      dBefore[row + j] = ds * w[j];
    }
    for (let j = 0; j < width; j++) {
      d.kappa[j] += du * before[row + j];
      dBefore[row + j] += du * kappa[j];
    }
  }
  return dBefore;
}

/** (r, w, k, v, κ, a, chunk states, dy, dstate) → gradients of the first six and the state. */
export function wkv7Gradient(inputs: readonly Value[]): Float64Array[] {
  const rows = inputs.slice(0, 6);
  const [kept, dys, dLast] = inputs.slice(6);
  const [batch, time, heads, width] = rows[0].shape;
  const chunks = kept.shape[2];
  const matrix = width * width;
  const at = flatIndex(rows[0].shape);
  const d = rows.map(({ shape, data }) => ({ shape, data: new Float64Array(data.length) }));
  const dState = new Float64Array(dLast.data.length);
  for (let head = 0; head < batch * heads; head++) {
    const [b, h] = [Math.floor(head / heads), head % heads];
    let ds: Float64Array = dLast.data.slice(head * matrix, (head + 1) * matrix);
    for (let chunk = chunks - 1; chunk >= 0; chunk--) {
      const begin = chunk * WKV_CHUNK;
      const end = Math.min(begin + WKV_CHUNK, time);
      const from = (head * chunks + chunk) * matrix;
      const states: Float64Array[] = [kept.data.slice(from, from + matrix)];
      for (let t = begin; t < end; t++) {
        states.push(step(states[t - begin], tokenAt(rows, b, t, h)));
      }
      for (let t = end - 1; t >= begin; t--) {
        const dy = dys.data.subarray(at(b, t, h, 0), at(b, t, h, 0) + width);
        const [before, after] = [states[t - begin], states[t - begin + 1]];
        ds = stepBack(before, after, tokenAt(rows, b, t, h), dy, ds, tokenAt(d, b, t, h));
      }
    }
    dState.set(ds, head * matrix);
  }
  return [...d.map(({ data }) => data), dState];
}
