/**
 * The RWKV-6 recurrence token by token. Per head, with S [key, value]:
 * S ← diag(w)·S + kᵀv, y = r·S.
 */

import { backward, forward, type Recurrence } from "./recurrence.ts";
import { addScaled, dot, type Value } from "./value.ts";

/** Tokens are (r, w, k, v). */
const recurrence: Recurrence = {
  step: (state, [, w, k, v]) => {
    const width = w.length;
    return state.map((s, at) => {
      const [i, j] = [Math.floor(at / width), at % width];
      return w[i] * s + k[i] * v[j];
    });
  },
  read: (state, [r]) => {
    const y = new Float64Array(r.length);
    r.forEach((x, i) => addScaled(y, 0, x, state, i * r.length, r.length));
    return y;
  },
  // G = dS + rᵀdy, dr = S·dy, dk = G·v, dv = k·G, dw = Σ over values of G⊙S before.
  stepBack: (before, after, [r, w, k, v], dy, dAfter, [dr, dw, dk, dv]) => {
    const width = w.length;
    const gradient = dAfter.map((g, at) => g + r[Math.floor(at / width)] * dy[at % width]);
    for (let i = 0; i < width; i++) {
      const row = i * width;
      dr[i] += dot(after, row, dy, 0, width);
      dk[i] += dot(gradient, row, v, 0, width);
      dw[i] += dot(gradient, row, before, row, width);
      addScaled(dv, 0, k[i], gradient, row, width);
    }
    return gradient.map((g, at) => w[Math.floor(at / width)] * g);
  },
};

/** (r, w, k, v, state) → (y, last state, states before every chunk of tokens). */
export const wkv6 = (inputs: readonly Value[]): Float64Array[] => forward(recurrence, inputs);

/** (r, w, k, v, chunk states, dy, dstate) → gradients of the first four and the state. */
export const wkv6Gradient = (inputs: readonly Value[]): Float64Array[] =>
  backward(recurrence, inputs);
