/** RAD-RWKV6: the RWKV-6 recurrence in the place of attention (paper, section 3). */

import * as g from "../graph/build.ts";
import type { Shape, Tensor } from "../graph/tensor.ts";
import type { DecoderConfig, RadRwkv6Spec } from "./config.ts";
import { gated, gateParameters, lowRank } from "./low_rank.ts";
import type { MixerInput, MixerOutput } from "./mixer.ts";
import { type Initial, ones, type Parameter, zeros } from "./parameter.ts";
import { projectHeads, projectionParameters, projectOutput, repeatHeads } from "./projections.ts";

/** What the token shift mixes an input for, in the order of its fused matrices. */
const SHIFTED = ["r", "k", "v", "w", "g"] as const;
type Shifted = typeof SHIFTED[number];

/** Second LoRA matrices start small: neutral, but not a saddle. */
const small: Initial = { kind: "uniform", bound: 0.01 };
/** The strongest decay of a token is exp(−5) ≈ 0.0067. */
const STRONGEST_LOG_DECAY = -5;
/** From here on exp(d) is above 5 and clamped; held here, it cannot overflow and make a NaN of 0·∞. */
const BEYOND_CLAMP = 2;

/** Parameters of the mixer of a layer, projections included. */
export function radRwkv6Parameters(
  config: DecoderConfig,
  { tokenShift, groupNorm, gate, ranks }: RadRwkv6Spec,
  layer: number,
  prefix: string,
): Parameter[] {
  const { hiddenSize, attentionHeads: heads, headDim, layers } = config;
  const wide = heads * headDim;
  const depth = layers > 1 ? layer / (layers - 1) : 0;
  const own = (name: string, shape: Shape, initial: Initial): Parameter => ({
    name: `${prefix}${name}`,
    shape,
    initial,
    mixer: true,
  });
  const mix = [1, 1, hiddenSize];
  const shift = [
    own("time_maa_x", mix, ones),
    ...SHIFTED.map((name) => own(`time_maa_${name}`, mix, zeros)),
    own("time_maa_w1", [hiddenSize, SHIFTED.length * ranks.tokenShift], zeros),
    own("time_maa_w2", [SHIFTED.length, ranks.tokenShift, hiddenSize], small),
  ];
  const decay: Initial = { kind: "ramp", from: -6, span: 5, power: 0.7 + 1.3 * depth };
  return [
    ...projectionParameters(config, prefix),
    ...(tokenShift ? shift : []),
    own("time_decay", [1, 1, wide], decay),
    own("time_decay_w1", [hiddenSize, ranks.decay], zeros),
    own("time_decay_w2", [ranks.decay, wide], small),
    ...gateParameters(config, prefix, gate, ranks.gate, small),
    ...(groupNorm ? [own("ln_x.weight", [wide], ones), own("ln_x.bias", [wide], zeros)] : []),
  ];
}

/**
 * The recurrence's matrix, [batch, heads, key, value], and where there is a token shift the input of
 * the token before, [batch, 1, hidden].
 */
export function radRwkv6StateShapes(
  { attentionHeads, headDim, hiddenSize }: DecoderConfig,
  { tokenShift }: RadRwkv6Spec,
  batch: number,
): Readonly<Record<string, Shape>> {
  return {
    wkv: [batch, attentionHeads, headDim, headDim],
    ...(tokenShift ? { shift: [batch, 1, hiddenSize] } : {}),
  };
}

/** Tokens at `begin` … `end`−1 of x [batch, time, hidden]. */
const tokensOf = (x: Tensor, begin: number, end: number) => g.slice(x, 1, begin, end);

/** x mixed with the token before it for each of what reads it, each [batch, time, hidden]. */
function tokenShift({ x, weight, state }: MixerInput): Record<Shifted, Tensor> {
  const [batch, time, hidden] = x.shape;
  const first = state?.shift ?? g.constant(0, [batch, 1, hidden]);
  const before = time === 1 ? first : g.concat([first, tokensOf(x, 0, time - 1)], 1);
  const difference = g.sub(before, x);
  const mixed = g.add(x, g.mul(difference, weight("time_maa_x")));
  const low = g.tanh(g.matmul(mixed, weight("time_maa_w1")));
  const second = weight("time_maa_w2");
  const rank = second.shape[1];
  const entries = SHIFTED.map((name, i) => {
    const matrix = g.reshape(g.slice(second, 0, i, i + 1), [rank, hidden]);
    const share = g.add(
      g.matmul(g.slice(low, 2, i * rank, (i + 1) * rank), matrix),
      weight(`time_maa_${name}`),
    );
    return [name, g.add(x, g.mul(difference, share))];
  });
  return Object.fromEntries(entries) as Record<Shifted, Tensor>;
}

/** The forward pass. */
export function radRwkv6Forward(spec: RadRwkv6Spec, input: MixerInput): MixerOutput {
  const { config, x, weight, cosine, sine } = input;
  const { attentionHeads: heads, headDim: width } = config;
  const [batch, time] = x.shape;
  const perHead = (name: string) => g.reshape(weight(name), [heads, width]);
  const shifted = spec.tokenShift ? tokenShift(input) : { r: x, k: x, v: x, w: x, g: x };
  const from = (name: Shifted): MixerInput => ({ ...input, x: shifted[name] });

  const turn = (t: Tensor) => spec.rope ? g.rotary(t, cosine, sine) : t;
  const r = turn(projectHeads(from("r"), "q_proj"));
  const key = repeatHeads(turn(projectHeads(from("k"), "k_proj")), heads);
  const v = repeatHeads(projectHeads(from("v"), "v_proj"), heads);

  const lora = g.reshape(lowRank(from("w"), "time_decay_w", g.tanh), [batch, time, heads, width]);
  const d = g.minimum(g.add(lora, perHead("time_decay")), BEYOND_CLAMP);
  // Where both are equal the gradient passes, as through torch.clamp.
  const logDecay = g.maximum(g.neg(g.exp(d)), STRONGEST_LOG_DECAY);
  const w = g.exp(logDecay);
  const k = spec.balanceState ? g.mul(key, g.sub(1, w)) : key;

  const before = input.state?.wkv ?? g.constant(0, [batch, heads, width, width]);
  const { y, state } = g.wkv6({ r, w, k, v }, before);
  const scaled = g.mul(y, width ** -0.5);
  const normed = spec.groupNorm
    ? g.groupNorm(scaled, perHead("ln_x.weight"), perHead("ln_x.bias"), width * 1e-5)
    : scaled;
  const output = projectOutput(input, gated(from("g"), spec.gate, normed));
  const after: Record<string, Tensor> = { wkv: state };
  if (spec.tokenShift) after.shift = tokensOf(x, time - 1, time);
  return { y: output, value: v, state: after };
}
