/** Random numbers that are the same in every run. */

/** A seeded source of random numbers (mulberry32). */
export interface Random {
  /** A real number in [low, high), rounded to f32. */
  readonly uniform: (low: number, high: number) => number;
  /** A whole number in 0 … count−1. */
  readonly below: (count: number) => number;
  /** One of the items. */
  readonly pick: <T>(items: readonly T[]) => T;
}

/** Starts a source of random numbers. */
export function random(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (count: number) => Math.floor(next() * count);
  return {
    uniform: (low, high) => Math.fround(low + (high - low) * next()),
    below,
    pick: (items) => items[below(items.length)],
  };
}
