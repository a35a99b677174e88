/**
 * The RWKV-6 recurrence token by token. Per head, with S [key, value]:
 * S ← diag(w)·S + kᵀv, y = r·S.
 */

import { WKV_CHUNK } from "../../graph/build.ts";
import { dot, flatIndex, type Value } from "./value.ts";

/** One head's tensors at one token: rows of the width. */
type Token = Readonly<Record<"r" | "w" | "k" | "v", Float64Array>>;

function tokenAt(inputs: readonly Value[], b: number, t: number, h: number): Token {
  const at = flatIndex(inputs[0].shape)(b, t, h, 0);
  const width = inputs[0].shape[3];
  const [r, w, k, v] = inputs.map(({ data }) => data.subarray(at, at + width));
  return { r, w, k, v };
}

/** The state [key, value] after a token. */
function step(state: Float64Array, { w, k, v }: Token): Float64Array {
  const width = w.length;
  return state.map((s, at) => {
    const [i, j] = [Math.floor(at / width), at % width];
    return w[i] * s + k[i] * v[j];
  });
}

/** (r, w, k, v, state) → (y, last state, states before every chunk of tokens). */
export function wkv6(inputs: readonly Value[]): Float64Array[] {
  const [batch, time, heads, width] = inputs[0].shape;
  const before = inputs[4].data;
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
      const token = tokenAt(inputs.slice(0, 4), b, t, h);
      state = step(state, token);
      for (let i = 0; i < width; i++) {
        for (let j = 0; j < width; j++) y[at(b, t, h, j)] += token.r[i] * state[i * width + j];
      }
    }
    last.set(state, head * matrix);
  }
  return [y, last, kept];
}

/**
 * The reverse of one token. Adds to `d`, the gradients of the token's rows, and returns the
 * gradient of the state before it from that of the state after it, without y's part:
 * G = dS + rᵀdy, dr = S·dy, dk = G·v, dv = k·G, dw = Σ over values of G⊙S before.
 */
function stepBack(
  before: Float64Array,
  after: Float64Array,
  { r, w, k, v }: Token,
  dy: Float64Array,
  dAfter: Float64Array,
  d: Token,
): Float64Array {
  const width = w.length;
  const gradient = dAfter.map((g, at) => g + r[Math.floor(at / width)] * dy[at % width]);
  for (let i = 0; i < width; i++) {
    const row = i * width;
    d.r[i] += dot(after, row, dy, 0, width);
    d.k[i] += dot(gradient, row, v, 0, width);
    d.w[i] += dot(gradient, row, before, row, width);
    for (let j = 0; j < width; j++) d.v[j] += k[i] * gradient[row + j];
  }
  return gradient.map((g, at) => w[Math.floor(at / width)] * g);
}

/** (r, w, k, v, chunk states, dy, dstate) → gradients of the first four and the state. */
export function wkv6Gradient(inputs: readonly Value[]): Float64Array[] {
  const rows = inputs.slice(0, 4);
  const [kept, dys, dLast] = inputs.slice(4);
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
