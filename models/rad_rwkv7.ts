/** RAD-RWKV7: the RWKV-7 recurrence in the place of attention (paper, section 3). */

import * as g from "../graph/build.ts";
import type { Shape, Tensor } from "../graph/tensor.ts";
import type { DecoderConfig, RadRwkv7Spec } from "./config.ts";
import { gated, gateParameters, lora, lowRank } from "./low_rank.ts";
import type { MixerInput, MixerOutput } from "./mixer.ts";
import { type Initial, ones, type Parameter, zeros } from "./parameter.ts";
import { projectHeads, projectionParameters, projectOutput, repeatHeads } from "./projections.ts";

/** e^(−½): the strongest decay is exp(−e^(−½)) ≈ 0.545. */
const STRONGEST = Math.exp(-0.5);
/** Keeps the direction of a vanishing key finite, as torch.nn.functional.normalize does. */
const NORM_EPSILON = 1e-24;

/** Parameters of the mixer of a layer, projections included. */
export function radRwkv7Parameters(
  config: DecoderConfig,
  { groupNorm, gate, ranks }: RadRwkv7Spec,
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
  const pair = (letter: string, rank: number) => [
    own(`${letter}1`, [hiddenSize, rank], zeros),
    own(`${letter}2`, [rank, wide], lora),
  ];
  const row = [1, 1, wide];
  const decay: Initial = {
    kind: "ramp",
    from: -6.5,
    span: 5,
    power: 0.85 + Math.sqrt(depth),
  };
  return [
    ...projectionParameters(config, prefix),
    own("w0", row, decay),
    ...pair("w", ranks.decay),
    own("a0", row, zeros),
    ...pair("a", ranks.iclr),
    own("v0", row, ones),
    ...pair("v", ranks.valueResidual),
    ...gateParameters(config, prefix, gate, ranks.gate, lora),
    own("k_k", row, { kind: "constant", value: 0.85 }),
    own("k_a", row, ones),
    own("r_k", [heads, headDim], zeros),
    ...(groupNorm ? [own("ln_x.weight", [wide], ones), own("ln_x.bias", [wide], zeros)] : []),
  ];
}

/** The recurrence's matrix, [batch, heads, value, key]. */
export function radRwkv7StateShapes(
  { attentionHeads, headDim }: DecoderConfig,
  batch: number,
): Readonly<Record<string, Shape>> {
  return { wkv: [batch, attentionHeads, headDim, headDim] };
}

/** x/‖x‖ over the last axis. */
function unit(x: Tensor): Tensor {
  return g.mul(x, g.reciprocal(g.sqrt(g.add(g.sum(g.mul(x, x), [-1]), NORM_EPSILON))));
}

/** The forward pass. */
export function radRwkv7Forward(spec: RadRwkv7Spec, input: MixerInput): MixerOutput {
  const { config, x, weight, cosine, sine, firstValue } = input;
  const { attentionHeads: heads, headDim: width } = config;
  const [batch, time] = x.shape;
  const asHeads = (t: Tensor) => g.reshape(t, [batch, time, heads, width]);
  const perHead = (name: string) => g.reshape(weight(name), [heads, width]);

  const turn = (t: Tensor) => spec.rope ? g.rotary(t, cosine, sine) : t;
  const r = turn(projectHeads(input, "q_proj"));
  const key = repeatHeads(turn(projectHeads(input, "k_proj")), heads);
  const ownValue = repeatHeads(projectHeads(input, "v_proj"), heads);

  const decayLogit = g.add(asHeads(lowRank(input, "w", g.tanh)), perHead("w0"));
  const w = g.exp(g.mul(g.sigmoid(decayLogit), -STRONGEST));
  const a = g.sigmoid(g.add(asHeads(lowRank(input, "a")), perHead("a0")));
  const v = firstValue === undefined ? ownValue : g.add(
    ownValue,
    g.mul(
      g.sub(firstValue, ownValue),
      g.sigmoid(g.add(asHeads(lowRank(input, "v")), perHead("v0"))),
    ),
  );

  const kappa = unit(spec.balanceState ? key : g.mul(key, perHead("k_k")));
  const k = spec.balanceState
    ? g.mul(key, g.add(g.sub(1, w), a))
    : g.mul(key, g.add(1, g.mul(g.sub(a, 1), perHead("k_a"))));

  const before = input.state?.wkv ?? g.constant(0, [batch, heads, width, width]);
  const { y, state } = g.wkv7({ r, w, k, v, kappa, a }, before);
  const normed = spec.groupNorm
    ? g.groupNorm(y, perHead("ln_x.weight"), perHead("ln_x.bias"), width * 1e-5)
    : g.mul(y, width ** -0.5);
  const output = projectOutput(input, gated(input, spec.gate, normed));
  return { y: output, value: v, state: { wkv: state } };
}
