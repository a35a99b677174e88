/** Choosing the next token from logits. */

import * as g from "../graph/build.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { Random } from "../models/random.ts";

/** How tokens are chosen. */
export interface SamplingOptions {
  /** 0 is greedy. */
  readonly temperature: number;
  /** Smallest set of tokens whose probabilities reach this sum; 1 keeps all. */
  readonly topP: number;
}

/** The id of the largest logit; the first of equals. */
export function greedy(logits: Float32Array): number {
  let best = 0;
  let largest = logits[0];
  for (let i = 1; i < logits.length; i++) {
    const logit = logits[i];
    if (logit > largest) [best, largest] = [i, logit];
  }
  return best;
}

/**
 * As `greedy`, on a device: logits [texts, vocabulary] to ids [texts, 1], as f32, which is exact below
 * 2^24; the vocabulary's size where all are NaN.
 */
export function greedyPlaces(logits: Tensor): Tensor {
  const [, vocabSize] = logits.shape;
  const isLargest = g.equal(logits, g.largest(logits, [-1]));
  const places = g.select(isLargest, g.neg(g.iota(logits.shape)), -vocabSize);
  return g.neg(g.largest(places, [-1]));
}

/** Draws an id: softmax at a temperature, cut to the nucleus of `topP` (Holtzman et al.). */
export function sample(
  logits: Float32Array,
  { temperature, topP }: SamplingOptions,
  random: Random,
): number {
  if (temperature === 0) return greedy(logits);
  let top = -Infinity;
  for (const z of logits) top = Math.max(top, z);
  const weights = new Float64Array(logits.length);
  let total = 0;
  for (let i = 0; i < weights.length; i++) {
    weights[i] = Math.exp((logits[i] - top) / temperature);
    total += weights[i];
  }
  if (topP >= 1) return draw(weights, undefined, total, random);
  // All below this together are less than what the nucleus leaves out, so they need no sorting.
  const least = (1 - topP) * total / weights.length;
  const candidates: number[] = [];
  for (let i = 0; i < weights.length; i++) if (weights[i] >= least) candidates.push(i);
  const order = Uint32Array.from(candidates).sort((a, b) => weights[b] - weights[a] || a - b);
  let kept = 0;
  let sum = 0;
  while (kept < order.length && sum < topP * total) sum += weights[order[kept++]];
  return draw(weights, order.subarray(0, kept), sum, random);
}

function draw(
  weights: Float64Array,
  order: Uint32Array | undefined,
  total: number,
  random: Random,
): number {
  let left = random.uniform() * total;
  const count = order?.length ?? weights.length;
  for (let i = 0; i < count; i++) {
    const id = order === undefined ? i : order[i];
    left -= weights[id];
    if (left < 0) return id;
  }
  return order === undefined ? weights.length - 1 : order[count - 1];
}
