/** The query (receptance), key, value and output projections that attention and mixers share. */

import * as g from "../graph/build.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { DecoderConfig } from "./config.ts";
import type { MixerInput } from "./mixer.ts";
import { type Initial, type Parameter, zeros } from "./parameter.ts";

/** Deviation of freshly drawn projections: transformers' initializer_range. */
export const projection: Initial = { kind: "normal", deviation: 0.02 };

/** Parameters of the four projections, named under `self_attn.`. */
export function projectionParameters(config: DecoderConfig, prefix: string): Parameter[] {
  const { hiddenSize, attentionHeads, keyValueHeads, headDim } = config;
  const wide = attentionHeads * headDim;
  const narrow = keyValueHeads * headDim;
  const matrix = (name: string, rows: number, columns: number, bias: boolean): Parameter[] => [
    { name: `${prefix}${name}.weight`, shape: [rows, columns], initial: projection, mixer: true },
    ...(bias
      ? [{ name: `${prefix}${name}.bias`, shape: [rows], initial: zeros, mixer: true }]
      : []),
  ];
  return [
    ...matrix("q_proj", wide, hiddenSize, config.attentionBias),
    ...matrix("k_proj", narrow, hiddenSize, config.attentionBias),
    ...matrix("v_proj", narrow, hiddenSize, config.attentionBias),
    ...matrix("o_proj", hiddenSize, wide, config.attentionOutputBias),
  ];
}

/** x through a projection, as heads: [batch, time, heads, headDim]. */
export function projectHeads(
  { config, x, weight }: MixerInput,
  name: "q_proj" | "k_proj" | "v_proj",
): Tensor {
  const [batch, time] = x.shape;
  const bias = config.attentionBias ? weight(`${name}.bias`) : undefined;
  const y = g.linear(x, weight(`${name}.weight`), bias);
  return g.reshape(y, [batch, time, y.shape[2] / config.headDim, config.headDim]);
}

/** Heads through the output projection: [batch, time, hidden]. */
export function projectOutput({ config, weight }: MixerInput, y: Tensor): Tensor {
  const [batch, time, heads, width] = y.shape;
  const bias = config.attentionOutputBias ? weight("o_proj.bias") : undefined;
  return g.linear(g.reshape(y, [batch, time, heads * width]), weight("o_proj.weight"), bias);
}

/** Key/value heads repeated for their groups of query heads. */
export function repeatHeads(x: Tensor, heads: number): Tensor {
  const [batch, time, narrow, width] = x.shape;
  if (narrow === heads) return x;
  const grouped = g.reshape(x, [batch, time, narrow, 1, width]);
  const repeated = g.expand(grouped, [batch, time, narrow, heads / narrow, width]);
  return g.reshape(repeated, [batch, time, heads, width]);
}
