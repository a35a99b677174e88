/**
 * The RWKV-7 recurrence token by token. Per head, with S [value, key]:
 * S ← S·diag(w) − (S·κᵀ)(a⊙κ) + vᵀk, y = S·r.
 */

import { backward, forward, type Recurrence } from "./recurrence.ts";
import { dot, type Value } from "./value.ts";

/** Tokens are (r, w, k, v, κ, a). */
const recurrence: Recurrence = {
  step: (state, [, w, k, v, kappa, a]) => {
    const width = w.length;
    const next = new Float64Array(state.length);
    for (let i = 0; i < width; i++) {
      const removed = dot(state, i * width, kappa, 0, width);
      for (let j = 0; j < width; j++) {
        next[i * width + j] = state[i * width + j] * w[j] - removed * a[j] * kappa[j] + v[i] * k[j];
      }
    }
    return next;
  },
  read: (state, [r]) => r.map((_, i) => dot(state, i * r.length, r, 0, r.length)),
  // With u = S·κᵀ and b = a⊙κ: dw = Σᵢ dSᵢ⊙Sᵢ, du = −dS·bᵀ, db = −u·dS, dκ = a⊙db + du·S.
  stepBack: (before, after, token, dy, dAfter, d) => {
    const [r, w, k, v, kappa, a] = token;
    const [dr, dw, dk, dv, dkappa, da] = d;
    const width = w.length;
    const dBefore = new Float64Array(before.length);
    for (let i = 0; i < width; i++) {
      const row = i * width;
      const u = dot(before, row, kappa, 0, width);
      let du = 0;
      for (let j = 0; j < width; j++) {
        const ds = dAfter[row + j] + dy[i] * r[j];
        du -= ds * a[j] * kappa[j];
        dr[j] += dy[i] * after[row + j];
        dv[i] += ds * k[j];
        dk[j] += ds * v[i];
        dw[j] += ds * before[row + j];
        da[j] -= u * ds * kappa[j];
        dkappa[j] -= u * ds * a[j];
        dBefore[row + j] = ds * w[j];
      }
      for (let j = 0; j < width; j++) {
        dkappa[j] += du * before[row + j];
        dBefore[row + j] += du * kappa[j];
      }
    }
    return dBefore;
  },
};

/** (r, w, k, v, κ, a, state) → (y, last state, states before every chunk of tokens). */
export const wkv7 = (inputs: readonly Value[]): Float64Array[] => forward(recurrence, inputs);

/** (r, w, k, v, κ, a, chunk states, dy, dstate) → gradients of the first six and the state. */
export const wkv7Gradient = (inputs: readonly Value[]): Float64Array[] =>
  backward(recurrence, inputs);
