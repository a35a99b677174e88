/** Recurrences over tokens with a matrix-valued state a head: what is the same for all of them. */

import { WKV_CHUNK } from "../../graph/build.ts";
import { flatIndex, type Value } from "./value.ts";

/** One head's tensors at one token, rows of the width, in the order of the inputs. */
export type Token = readonly Float64Array[];

/** A recurrence, token by token. */
export interface Recurrence {
  /** The state after a token. */
  readonly step: (state: Float64Array, token: Token) => Float64Array;
  /** y of a token, from the state after it. */
  readonly read: (state: Float64Array, token: Token) => Float64Array;
  /**
   * The reverse of one token. Adds to `d`, the gradients of the token's rows, and returns the
   * gradient of the state before it from that of the state after it, without y's part.
   */
  readonly stepBack: (
    before: Float64Array,
    after: Float64Array,
    token: Token,
    dy: Float64Array,
    dAfter: Float64Array,
    d: Token,
  ) => Float64Array;
}

function tokenAt(inputs: readonly Value[], b: number, t: number, h: number): Token {
  const at = flatIndex(inputs[0].shape)(b, t, h, 0);
  const width = inputs[0].shape[3];
  return inputs.map(({ data }) => data.subarray(at, at + width));
}

/** (inputs, state) → (y, last state, states before every chunk of tokens). */
export function forward({ step, read }: Recurrence, inputs: readonly Value[]): Float64Array[] {
  const rows = inputs.slice(0, -1);
  const before = inputs[inputs.length - 1].data;
  const [batch, time, heads, width] = rows[0].shape;
  const chunks = Math.ceil(time / WKV_CHUNK);
  const matrix = width * width;
  const at = flatIndex(rows[0].shape);
  const y = new Float64Array(rows[0].data.length);
  const last = new Float64Array(before.length);
  const kept = new Float64Array(batch * heads * chunks * matrix);
  for (let head = 0; head < batch * heads; head++) {
    const [b, h] = [Math.floor(head / heads), head % heads];
    let state: Float64Array = before.slice(head * matrix, (head + 1) * matrix);
    for (let t = 0; t < time; t++) {
      if (t % WKV_CHUNK === 0) kept.set(state, (head * chunks + t / WKV_CHUNK) * matrix);
      const token = tokenAt(rows, b, t, h);
      state = step(state, token);
      y.set(read(state, token), at(b, t, h, 0));
    }
    last.set(state, head * matrix);
  }
  return [y, last, kept];
}

/** (inputs, chunk states, dy, dstate) → gradients of the inputs and the state. */
export function backward(
  { step, stepBack }: Recurrence,
  inputs: readonly Value[],
): Float64Array[] {
  const rows = inputs.slice(0, -3);
  const [kept, dys, dLast] = inputs.slice(-3);
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
