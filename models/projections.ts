/** The query (receptance), key, value and output projections that attention and mixers share. */

import * as g from "../graph/build.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { DecoderConfig } from "./config.ts";
import type { MixerInput } from "./mixer.ts";
import { type Initial, ones, type Parameter, zeros } from "./parameter.ts";

/** Deviation of freshly drawn projections: transformers' initializer_range. */
export const projection: Initial = { kind: "normal", deviation: 0.02 };

/** The norms of query (receptance) and key heads, where a family has them. */
const NORMS = { q_proj: "q_norm.weight", k_proj: "k_norm.weight" } as const;

/** Parameters of the four projections and their norms, named under `self_attn.`. */
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
    ...(config.attentionQkNorm ? Object.values(NORMS) : []).map((name): Parameter => (
      { name: `${prefix}${name}`, shape: [headDim], initial: ones, mixer: true }
    )),
  ];
}

/**
 * x through a projection, as heads: [batch, time, heads, headDim]. Queries (receptance) and keys
 * are normed head by head where the teacher's family does that (Qwen3), in every mixer.
 */
export function projectHeads(
  { config, x, weight }: MixerInput,
  name: "q_proj" | "k_proj" | "v_proj",
): Tensor {
  const [batch, time] = x.shape;
  const bias = config.attentionBias ? weight(`${name}.bias`) : undefined;
  const y = g.linear(x, weight(`${name}.weight`), bias);
  const heads = g.reshape(y, [batch, time, y.shape[2] / config.headDim, config.headDim]);
  if (!config.attentionQkNorm || name === "v_proj") return heads;
  return g.rmsNorm(heads, weight(NORMS[name]), config.rmsNormEps);
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
