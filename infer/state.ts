/** What the tokens of a text have left behind in a model, apart from any session. */

import { type Shape, size } from "../graph/tensor.ts";
import type { ModelSpec } from "../models/config.ts";
import { mixerStateShapes } from "../models/decoder.ts";

/** A layer's state of one text, by name, as the mixer's state shapes have it without the texts. */
export type LayerState = Readonly<Record<string, Float32Array>>;

/** A text's state in every layer, after so many tokens. */
export interface TextState {
  readonly position: number;
  readonly layers: readonly LayerState[];
}

/**
 * A cache [heads, rows, width] with as many rows a head as the shape says: zeros where it had fewer,
 * without the last ones where it had more. A cache that does not yet, or no longer, have all the
 * rows of its window is no ring: its rows are in the order of their tokens.
 */
export function fitCache(
  cache: Float32Array,
  [heads, rows, width]: readonly number[],
): Float32Array {
  const before = cache.length / heads;
  const after = rows * width;
  if (before === after) return cache;
  const fitting = new Float32Array(heads * after);
  for (let head = 0; head < heads; head++) {
    const from = head * before;
    fitting.set(cache.subarray(from, from + Math.min(before, after)), head * after);
  }
  return fitting;
}

/** Bytes of state, f32, that a model holds after some tokens. */
export function stateBytes({ config, mixers }: ModelSpec, batch: number, tokens: number): number {
  const sizes = mixers.map((mixer) => stateSize(mixerStateShapes(config, mixer, batch, tokens)));
  return 4 * sizes.reduce((sum, own) => sum + own, 0);
}

/** Values in a layer's state. */
export function stateSize(shapes: Readonly<Record<string, Shape>>): number {
  return Object.values(shapes).reduce((sum, shape) => sum + size(shape), 0);
}
