import { assert, assertEquals } from "@std/assert";
import {
  type DecoderConfig,
  loraRank,
  type MixerSpec,
  radRwkv6Ranks,
  type RadRwkv6Spec,
  radRwkv7Ranks,
  type RadRwkv7Spec,
} from "../../models/config.ts";
import { mixerParameters, modelParameters } from "../../models/decoder.ts";
import { ATTENTION, radRwkv6, radRwkv7, smallConfig } from "../support/model.ts";

/** Names and shapes of a layer's mixer, without the start of the names. */
function mixer(spec: MixerSpec, config: Partial<DecoderConfig> = {}, layer = 1) {
  const parameters = mixerParameters(smallConfig(config), spec, layer);
  assert(parameters.every((parameter) => parameter.mixer));
  return Object.fromEntries(
    parameters.map(({ name, shape }) => [name.replace("model.layers.1.self_attn.", ""), shape]),
  );
}

const PROJECTIONS = {
  "q_proj.weight": [32, 24],
  "q_proj.bias": [32],
  "k_proj.weight": [16, 24],
  "k_proj.bias": [16],
  "v_proj.weight": [16, 24],
  "v_proj.bias": [16],
  "o_proj.weight": [24, 32],
};

/** What every RAD-RWKV7 mixer has, for a hidden size of 24 and 4 heads of 8. */
const RAD_RWKV7 = {
  ...PROJECTIONS,
  ...{ w0: [1, 1, 32], w1: [24, 5], w2: [5, 32] },
  ...{ a0: [1, 1, 32], a1: [24, 6], a2: [6, 32] },
  ...{ v0: [1, 1, 32], v1: [24, 7], v2: [7, 32] },
  ...{ k_k: [1, 1, 32], k_a: [1, 1, 32], r_k: [4, 8] },
};

Deno.test("parameters: attention, with and without each bias", () => {
  assertEquals(mixer(ATTENTION), PROJECTIONS);
  const plain = Object.entries(PROJECTIONS).filter(([name]) => !name.endsWith("bias"));
  assertEquals(mixer(ATTENTION, { attentionBias: false }), Object.fromEntries(plain));
  const output = { attentionOutputBias: true };
  assertEquals(mixer(ATTENTION, output), { ...PROJECTIONS, "o_proj.bias": [24] });
});

Deno.test("parameters: norms of query and key heads are part of every mixer's projections", () => {
  const norms = { "q_norm.weight": [8], "k_norm.weight": [8] };
  const normed = { attentionQkNorm: true };
  assertEquals(mixer(ATTENTION, normed), { ...PROJECTIONS, ...norms });
  const recurrent = radRwkv7({ gate: 0, groupNorm: false });
  assertEquals(mixer(recurrent, normed), { ...RAD_RWKV7, ...norms });
});

Deno.test("parameters: RAD-RWKV7, each flag on its own", () => {
  assertEquals(mixer(radRwkv7({ gate: 0, groupNorm: false })), RAD_RWKV7);
  const norm = { "ln_x.weight": [32], "ln_x.bias": [32] };
  assertEquals(mixer(radRwkv7({ gate: 0, groupNorm: true })), { ...RAD_RWKV7, ...norm });
  const full = { "gate.weight": [32, 24] };
  assertEquals(mixer(radRwkv7({ gate: 1, groupNorm: false })), { ...RAD_RWKV7, ...full });
  const low = { g1: [24, 8], g2: [8, 32] };
  assertEquals(mixer(radRwkv7({ gate: 2, groupNorm: false })), { ...RAD_RWKV7, ...low });
  const base = radRwkv7({ gate: 0, groupNorm: false });
  for (const flags of [{ rope: false }, { balanceState: true }]) {
    assertEquals(mixer({ ...base, ...flags }), RAD_RWKV7);
  }
});

/** What every RAD-RWKV6 mixer has, and what a token shift adds. */
const RAD_RWKV6 = {
  ...PROJECTIONS,
  ...{ time_decay: [1, 1, 32], time_decay_w1: [24, 6], time_decay_w2: [6, 32] },
};
const TOKEN_SHIFT = {
  ...Object.fromEntries([..."xrkvwg"].map((name) => [`time_maa_${name}`, [1, 1, 24]])),
  ...{ time_maa_w1: [24, 25], time_maa_w2: [5, 5, 24] },
};

Deno.test("parameters: RAD-RWKV6, each flag on its own", () => {
  const bare = radRwkv6({ gate: 0, tokenShift: false });
  assertEquals(mixer(bare), RAD_RWKV6);
  assertEquals(mixer({ ...bare, tokenShift: true }), { ...RAD_RWKV6, ...TOKEN_SHIFT });
  const norm = { "ln_x.weight": [32], "ln_x.bias": [32] };
  assertEquals(mixer({ ...bare, groupNorm: true }), { ...RAD_RWKV6, ...norm });
  assertEquals(mixer({ ...bare, gate: 1 }), { ...RAD_RWKV6, "gate.weight": [32, 24] });
  assertEquals(mixer({ ...bare, gate: 2 }), { ...RAD_RWKV6, g1: [24, 7], g2: [7, 32] });
  for (const flags of [{ rope: true }, { balanceState: false }]) {
    assertEquals(mixer({ ...bare, ...flags }), RAD_RWKV6);
  }
});

Deno.test("parameters: a model around its mixers", () => {
  const config = smallConfig({ layers: 2 });
  const names = (spec = config) =>
    modelParameters({ config: spec, mixers: [radRwkv7(), ATTENTION] })
      .filter((parameter) => !parameter.mixer).map(({ name, shape }) => [name, shape]);
  const layer = (i: number) => [
    [`model.layers.${i}.input_layernorm.weight`, [24]],
    [`model.layers.${i}.post_attention_layernorm.weight`, [24]],
    [`model.layers.${i}.mlp.gate_proj.weight`, [40, 24]],
    [`model.layers.${i}.mlp.up_proj.weight`, [40, 24]],
    [`model.layers.${i}.mlp.down_proj.weight`, [24, 40]],
  ];
  const tied = [
    ["model.embed_tokens.weight", [50, 24]],
    ...layer(0),
    ...layer(1),
    ["model.norm.weight", [24]],
  ];
  assertEquals(names({ ...config, tieWordEmbeddings: true }), tied);
  assertEquals(names(), [...tied, ["lm_head.weight", [50, 24]]]);
  const biased = names({ ...config, mlpBias: true }).map(([name]) => name);
  assertEquals(biased.filter((name) => String(name).endsWith("mlp.down_proj.bias")).length, 2);
  assertEquals(biased.length, names().length + 6);
});

Deno.test("parameters: names are unique, and each layer has its own", () => {
  const mixers = [radRwkv7(), ATTENTION, radRwkv7({ gate: 1 })];
  const all = modelParameters({ config: smallConfig({ layers: 3 }), mixers });
  assertEquals(new Set(all.map(({ name }) => name)).size, all.length);
});

Deno.test("LoRA ranks: multiples of 32, by the published formula", () => {
  // Computed in Python: max(1, round(C^e·m/32))·32.
  const ranks: readonly (readonly [hidden: number, RadRwkv7Spec["ranks"]])[] = [
    [64, { decay: 32, iclr: 32, valueResidual: 32, gate: 32 }],
    [896, { decay: 64, iclr: 64, valueResidual: 32, gate: 128 }],
    [3584, { decay: 96, iclr: 96, valueResidual: 64, gate: 416 }],
    [5120, { decay: 128, iclr: 128, valueResidual: 96, gate: 544 }],
    [8192, { decay: 160, iclr: 160, valueResidual: 128, gate: 800 }],
  ];
  for (const [hidden, expected] of ranks) assertEquals(radRwkv7Ranks(hidden), expected);
  const ranks6: readonly (readonly [hidden: number, RadRwkv6Spec["ranks"]])[] = [
    [64, { tokenShift: 32, decay: 32, gate: 32 }],
    [896, { tokenShift: 64, decay: 64, gate: 128 }],
    [3584, { tokenShift: 96, decay: 96, gate: 416 }],
    [8192, { tokenShift: 160, decay: 160, gate: 800 }],
  ];
  for (const [hidden, expected] of ranks6) assertEquals(radRwkv6Ranks(hidden), expected);
  assertEquals(loraRank(1, 0.5, 1.8), 32);
});
