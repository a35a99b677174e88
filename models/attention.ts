/** Causal softmax attention with rotary positions and grouped key/value heads. */

import * as g from "../graph/build.ts";
import type { Shape } from "../graph/tensor.ts";
import type { AttentionSpec, DecoderConfig } from "./config.ts";
import type { MixerInput, MixerOutput } from "./mixer.ts";
import { projectHeads, projectOutput, repeatHeads } from "./projections.ts";

/**
 * The caches of keys and values, [batch, kv heads, rows, headDim]: a row for every token, or for
 * the latest of a window.
 */
export function attentionStateShapes(
  { keyValueHeads, headDim }: DecoderConfig,
  { window = Infinity }: AttentionSpec,
  batch: number,
  capacity: number,
): Readonly<Record<string, Shape>> {
  const shape = [batch, keyValueHeads, Math.min(window, capacity), headDim];
  return { keys: shape, values: shape };
}

/** The forward pass; with a state it extends the caches in place. */
export function attentionForward({ window }: AttentionSpec, input: MixerInput): MixerOutput {
  const { config, cosine, sine, state, start } = input;
  const q = g.rotary(projectHeads(input, "q_proj"), cosine, sine);
  const k = g.rotary(projectHeads(input, "k_proj"), cosine, sine);
  const v = projectHeads(input, "v_proj");
  const value = repeatHeads(v, config.attentionHeads);
  const scale = config.headDim ** -0.5;
  if (state === undefined || start === undefined) {
    return { y: projectOutput(input, g.attention(q, k, v, scale, window)), value, state: {} };
  }
  const { output, keys, values } = g.cachedAttention(
    q,
    k,
    v,
    state.keys,
    state.values,
    start,
    scale,
    window,
  );
  return { y: projectOutput(input, output), value, state: { keys, values } };
}
