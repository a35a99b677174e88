import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import {
  configJson,
  MODEL_TYPES,
  type ModelConfig,
  parseConfig,
  type Rwkv6Qwen2Config,
  type Rwkv7Qwen2Config,
} from "../../formats/hf_config/config.ts";
import { readConfig } from "../../formats/hf_config/read.ts";
import type { JsonObject } from "../../formats/json.ts";
import { sharedPath } from "../support/shared.ts";
import { fixturePath, messageOf, withFolder } from "./support.ts";

const fixture = (name: string) =>
  JSON.parse(Deno.readTextFileSync(fixturePath("hf_config", `${name}.json`)));

const shared = (...parts: string[]) =>
  JSON.parse(Deno.readTextFileSync(join(sharedPath(...parts), "config.json")));

/** The least that a family asks for. */
const SMALL: JsonObject = {
  model_type: "qwen2",
  vocab_size: 100,
  hidden_size: 32,
  intermediate_size: 80,
  num_hidden_layers: 3,
  num_attention_heads: 4,
};

const RWKV7: JsonObject = {
  ...SMALL,
  model_type: "rwkv7qwen2",
  use_rope: true,
  balance_state: false,
  groupnorm_att: true,
  gate_rank_type: 2,
  lora_rank_decay: 8,
  lora_rank_iclr: 8,
  lora_rank_value_residual_mix: 8,
  lora_rank_gate: 8,
};

Deno.test("reads Qwen2 as transformers 5 writes it", () => {
  const config: ModelConfig = parseConfig(fixture("qwen2_transformers5"));
  const expected: ModelConfig = {
    modelType: "qwen2",
    vocabSize: 151936,
    hiddenSize: 896,
    intermediateSize: 4864,
    layers: 24,
    attentionHeads: 14,
    keyValueHeads: 2,
    headDim: 64,
    rmsNormEps: 1e-6,
    ropeTheta: 1e6,
    ropeScaling: null,
    maxPositionEmbeddings: 32768,
    tieWordEmbeddings: true,
    attentionBias: true,
    attentionOutputBias: false,
    attentionQkNorm: false,
    slidingWindow: null,
    slidingLayers: [],
    mlpBias: false,
    bosTokenId: 151643,
    eosTokenIds: [151645, 151643],
    torchDtype: "bfloat16",
  };
  assertEquals(config, expected);
  assert(Object.isFrozen(config) && Object.isFrozen(config.eosTokenIds));
});

Deno.test("reads Llama 3 as transformers 5 writes it", () => {
  const expected: ModelConfig = {
    modelType: "llama",
    vocabSize: 128256,
    hiddenSize: 2048,
    intermediateSize: 8192,
    layers: 16,
    attentionHeads: 32,
    keyValueHeads: 8,
    headDim: 64,
    rmsNormEps: 1e-5,
    ropeTheta: 500000,
    ropeScaling: {
      type: "llama3",
      factor: 32,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositionEmbeddings: 8192,
    },
    maxPositionEmbeddings: 131072,
    tieWordEmbeddings: true,
    attentionBias: false,
    attentionOutputBias: false,
    attentionQkNorm: false,
    slidingWindow: null,
    slidingLayers: [],
    mlpBias: false,
    bosTokenId: 128000,
    eosTokenIds: [128001],
    torchDtype: "bfloat16",
  };
  const config = parseConfig(fixture("llama3_transformers5"));
  assertEquals(config, expected);
  // And as transformers 4 writes it.
  const { rope_parameters, dtype, ...rest } = fixture("llama3_transformers5");
  const { rope_theta, ...rope_scaling } = rope_parameters;
  const older = { ...rest, rope_theta, rope_scaling, torch_dtype: `torch.${dtype}` };
  assertEquals(parseConfig(older), config);
  delete rope_scaling.original_max_position_embeddings;
  const original = () => {
    const scaling = parseConfig(older).ropeScaling;
    return scaling?.type === "llama3" && scaling.originalMaxPositionEmbeddings;
  };
  assertEquals(original(), 131072);
  // At the top it counts before what the scaling says.
  older.original_max_position_embeddings = 4096;
  rope_scaling.original_max_position_embeddings = 8192;
  assertEquals(original(), 4096);
});

/** A golden checkpoint's config, as transformers 5.18 wrote it. */
const golden = (name: string) =>
  JSON.parse(
    Deno.readTextFileSync(
      new URL(`../models/fixtures/golden/${name}/config.json`, import.meta.url),
    ),
  );

Deno.test("reads Qwen3 and Mistral as transformers 5 writes them", () => {
  const facts = ({ modelType, headDim, slidingWindow, slidingLayers, ...rest }: ModelConfig) => ({
    modelType,
    headDim,
    slidingWindow,
    slidingLayers,
    biases: [rest.attentionBias, rest.attentionOutputBias, rest.mlpBias],
    norm: rest.attentionQkNorm,
  });
  assertEquals(facts(parseConfig(golden("tiny-qwen3"))), {
    modelType: "qwen3",
    headDim: 12,
    slidingWindow: null,
    slidingLayers: [],
    biases: [false, false, false],
    norm: true,
  });
  assertEquals(facts(parseConfig(golden("tiny-qwen3-window"))), {
    modelType: "qwen3",
    headDim: 12,
    slidingWindow: 7,
    slidingLayers: [0, 2],
    biases: [true, true, false],
    norm: true,
  });
  assertEquals(facts(parseConfig(golden("tiny-mistral"))), {
    modelType: "mistral",
    headDim: 12,
    slidingWindow: 8,
    slidingLayers: [0, 1, 2],
    biases: [false, false, false],
    norm: false,
  });
});

Deno.test("sliding windows: which layers, and the defaults of transformers 5.18", () => {
  const windows = (keys: JsonObject) => {
    const { slidingWindow, slidingLayers } = parseConfig({ ...SMALL, ...keys });
    return [slidingWindow, slidingLayers];
  };
  const use = { use_sliding_window: true };
  assertEquals(windows({ ...use, sliding_window: 8, max_window_layers: 1 }), [8, [1, 2]]);
  assertEquals(windows({ ...use, max_window_layers: 0 }), [4096, [0, 1, 2]]);
  // 28 layers are whole where the file does not say how many.
  assertEquals(windows(use), [null, []]);
  assertEquals(windows({ ...use, max_window_layers: 0, num_hidden_layers: 1 }), [4096, [0]]);
  assertEquals(windows({ ...use, sliding_window: null, max_window_layers: 0 }), [null, []]);
  assertEquals(windows({ sliding_window: 8, max_window_layers: 0 }), [null, []]);
  const layer_types = ["full_attention", "sliding_attention", "full_attention"];
  assertEquals(windows({ ...use, sliding_window: 8, layer_types }), [8, [1]]);
  assertEquals(
    windows({ ...use, layer_types: layer_types.fill("full_attention"), max_window_layers: 0 }),
    [null, []],
  );
  const mistral = (keys: JsonObject) =>
    windows({ model_type: "mistral", num_key_value_heads: 2, ...keys });
  assertEquals(mistral({ sliding_window: 16 }), [16, [0, 1, 2]]);
  assertEquals(mistral({ sliding_window: null }), [null, []]);
  assertEquals(mistral({}), [4096, [0, 1, 2]]);
  const hybrid = (keys: JsonObject) =>
    windows({ ...RWKV7, attention_layers: [0, 2], ...use, sliding_window: 8, ...keys });
  assertEquals(hybrid({ max_window_layers: 0 }), [8, [0, 2]]);
  const types = ["full_attention", "linear_attention", "sliding_attention"];
  assertEquals(hybrid({ layer_types: types }), [8, [2]]);
});

Deno.test("scalings: linear and YaRN, in both forms, with transformers' defaults", () => {
  const scaling = (keys: JsonObject) =>
    parseConfig({ ...SMALL, max_position_embeddings: 256, ...keys }).ropeScaling;
  const linear = { type: "linear" as const, factor: 2.5 };
  assertEquals(scaling({ rope_scaling: linear }), linear);
  assertEquals(scaling({ rope_parameters: { rope_type: "linear", factor: 2.5 } }), linear);
  const yarn = {
    type: "yarn" as const,
    factor: 4,
    originalMaxPositionEmbeddings: 64,
    betaFast: 32,
    betaSlow: 1,
    truncate: true,
    attentionFactor: 0.1 * Math.log(4) + 1,
  };
  const original_max_position_embeddings = 64;
  const given = { rope_type: "yarn", factor: 4, original_max_position_embeddings };
  assertEquals(scaling({ rope_parameters: given }), yarn);
  const { factor: _, ...without } = given;
  assertEquals(scaling({ rope_scaling: without }), yarn, "the ratio of the lengths");
  const own = { beta_fast: 8, beta_slow: 2, truncate: false, attention_factor: 1.5 };
  assertEquals(scaling({ rope_scaling: { ...given, ...own } }), {
    ...yarn,
    ...{ betaFast: 8, betaSlow: 2, truncate: false, attentionFactor: 1.5 },
  });
  const scales = { mscale: 0.707, mscale_all_dim: 1 };
  const sharper = scaling({ rope_scaling: { ...given, ...scales } });
  assertEquals(sharper, {
    ...yarn,
    attentionFactor: (0.0707 * Math.log(4) + 1) / (0.1 * Math.log(4) + 1),
  });
  const zero = { ...scales, mscale_all_dim: 0 };
  assertEquals(scaling({ rope_scaling: { ...given, ...zero } }), yarn, "0 is absence");
});

Deno.test("reads the shared models", () => {
  const llama = readConfig(sharedPath("models", "stories260k"));
  assertEquals([llama.modelType, llama.headDim, llama.keyValueHeads], ["llama", 8, 4]);
  assertEquals([llama.attentionBias, llama.tieWordEmbeddings], [false, true]);

  const rwkv7 = readConfig(sharedPath("golden", "tiny-rwkv7")) as Rwkv7Qwen2Config;
  const groupnorm = readConfig(sharedPath("golden", "tiny-rwkv7gn")) as Rwkv7Qwen2Config;
  const flags = ({ useRope, balanceState, groupnormAtt, gateRankType }: Rwkv7Qwen2Config) => [
    useRope,
    balanceState,
    groupnormAtt,
    gateRankType,
  ];
  assertEquals(flags(rwkv7), [true, true, false, 2]);
  assertEquals(flags(groupnorm), [true, false, true, 2]);
  assertEquals([rwkv7.attentionBias, rwkv7.attentionOutputBias], [true, false]);
  assertEquals([rwkv7.useTokenshift, rwkv7.loraRankTokenshift], [false, null]);
  assertEquals([rwkv7.loraRankDecay, rwkv7.loraRankGate], [8, 8]);
  assertEquals(rwkv7.attentionLayers, []);

  const rwkv6 = readConfig(sharedPath("golden", "tiny-rwkv6")) as Rwkv6Qwen2Config;
  const { useRope, useTokenshift, balanceState, groupnormAtt, gateRankType } = rwkv6;
  assertEquals([useRope, useTokenshift, balanceState, groupnormAtt], [false, true, true, false]);
  assertEquals([gateRankType, rwkv6.loraRankTokenshift, rwkv6.loraRankDecay], [1, 8, 8]);
  assertEquals(rwkv6.loraRankIclr, null);
});

Deno.test("defaults are those of each family", () => {
  const qwen2 = parseConfig(SMALL);
  assertEquals(
    [qwen2.attentionBias, qwen2.attentionOutputBias, qwen2.maxPositionEmbeddings],
    [true, false, 32768],
  );
  assertEquals([qwen2.keyValueHeads, qwen2.headDim, qwen2.ropeTheta], [4, 8, 10000]);
  assertEquals([qwen2.tieWordEmbeddings, qwen2.rmsNormEps], [false, 1e-6]);
  assertEquals([qwen2.bosTokenId, qwen2.eosTokenIds, qwen2.torchDtype], [null, [], null]);
  const llama = parseConfig({ ...SMALL, model_type: "llama" });
  assertEquals([llama.attentionBias, llama.maxPositionEmbeddings], [false, 2048]);
  const biased = parseConfig({ ...SMALL, model_type: "llama", attention_bias: true });
  assertEquals([biased.attentionBias, biased.attentionOutputBias], [true, true]);
  const nulls = { head_dim: null, num_key_value_heads: null, rope_scaling: null, dtype: null };
  assertEquals(parseConfig({ ...SMALL, ...nulls }), qwen2);
  assertEquals(parseConfig({ ...SMALL, head_dim: 16 }).headDim, 16);
  const qwen3 = parseConfig({ ...SMALL, model_type: "qwen3" });
  assertEquals([qwen3.headDim, qwen3.keyValueHeads, qwen3.attentionBias], [128, 4, false]);
  const mistral: JsonObject = { ...SMALL, model_type: "mistral", num_attention_heads: 16 };
  const { keyValueHeads, headDim, maxPositionEmbeddings } = parseConfig(mistral);
  assertEquals([keyValueHeads, headDim, maxPositionEmbeddings], [8, 2, 131072]);
  assertEquals(parseConfig({ ...mistral, num_key_value_heads: null }).keyValueHeads, 16);
});

Deno.test("writes what it reads, for every family", () => {
  const configs = [
    fixture("qwen2_transformers5"),
    fixture("llama3_transformers5"),
    shared("models", "stories260k"),
    ...["tiny-qwen2", "tiny-rwkv6", "tiny-rwkv7", "tiny-rwkv7gn"].map((name) =>
      shared("golden", name)
    ),
    { ...RWKV7, attention_layers: [0, 2], mlp_bias: true },
    { ...RWKV7, num_attention_layers: 2, eos_token_id: [1, 2] },
    { ...SMALL, attention_bias: false, attention_output_bias: true },
    ...["tiny-qwen3", "tiny-qwen3-window", "tiny-mistral", "tiny-qwen2-window"].map(golden),
    ...["tiny-llama3-bands", "tiny-llama-yarn", "tiny-llama-linear"].map(golden),
    { ...golden("tiny-mistral"), sliding_window: null },
    { ...RWKV7, attention_qk_norm: true, attention_bias: false },
    {
      ...RWKV7,
      ...{ attention_layers: [0, 2], use_sliding_window: true, sliding_window: 8 },
      layer_types: ["full_attention", "linear_attention", "sliding_attention"],
    },
  ];
  for (const json of configs) {
    const config = parseConfig(json);
    assertEquals(parseConfig(configJson(config)), config);
  }
});

Deno.test("writes every key that other readers ask for, with its value", () => {
  const qwen2 = shared("golden", "tiny-qwen2");
  assertEquals(configJson(parseConfig(qwen2)), { ...qwen2, head_dim: 8 });
  const llama = shared("models", "stories260k");
  assertEquals(configJson(parseConfig(llama)), llama);
  const rwkv7 = shared("golden", "tiny-rwkv7");
  assertEquals(configJson(parseConfig(rwkv7)), {
    ...rwkv7,
    head_dim: 8,
    use_tokenshift: false,
    lora_rank_tokenshift: null,
    num_attention_layers: 0,
  });
  const rwkv6 = shared("golden", "tiny-rwkv6");
  assertEquals(configJson(parseConfig(rwkv6)), {
    ...rwkv6,
    head_dim: 8,
    lora_rank_iclr: null,
    lora_rank_value_residual_mix: null,
    lora_rank_gate: null,
    num_attention_layers: 0,
  });
  const auto_map = { AutoConfig: "configuration_rwkv7qwen2.RWKV7Qwen2Config" };
  assertEquals(configJson(parseConfig(rwkv7), { auto_map }).auto_map, auto_map);
});

Deno.test("writes the windows and norms of a converted model", () => {
  const written = configJson(parseConfig({
    ...RWKV7,
    ...{ attention_qk_norm: true, num_attention_layers: 2 },
    ...{ use_sliding_window: true, sliding_window: 8, max_window_layers: 2 },
  }));
  const { attention_qk_norm, use_sliding_window, sliding_window, max_window_layers } = written;
  assertEquals(
    [attention_qk_norm, use_sliding_window, sliding_window, max_window_layers],
    [true, true, 8, 2],
  );
  assertEquals(written.layer_types, ["linear_attention", "full_attention", "sliding_attention"]);
  const plain = Object.keys(configJson(parseConfig(RWKV7)));
  assertEquals(plain.filter((key) => /window|layer_types|qk_norm/.test(key)), []);
});

Deno.test("hybrids: the last layers by their number, others by a list", () => {
  const read = (keys: JsonObject) =>
    (parseConfig({ ...RWKV7, ...keys }) as Rwkv7Qwen2Config).attentionLayers;
  assertEquals(read({ num_attention_layers: 2 }), [1, 2]);
  assertEquals(read({ num_attention_layers: 3 }), [0, 1, 2]);
  assertEquals(read({ attention_layers: [0, 2] }), [0, 2]);
  assertEquals(read({ attention_layers: [0, 2], num_attention_layers: 2 }), [0, 2]);
  const written = (keys: JsonObject) => {
    const { num_attention_layers, attention_layers } = configJson(parseConfig({
      ...RWKV7,
      ...keys,
    }));
    return [num_attention_layers, attention_layers];
  };
  assertEquals(written({ attention_layers: [1, 2] }), [2, undefined]);
  assertEquals(written({ attention_layers: [1] }), [1, [1]]);
});

Deno.test("what has no key is not written", () => {
  const rwkv7 = parseConfig(RWKV7) as Rwkv7Qwen2Config;
  const unset = { ...rwkv7, loraRankDecay: null };
  assertThrows(() => configJson(unset), RangeError, "loraRankDecay is not set");
  const gate = { ...rwkv7, loraRankGate: null };
  assertThrows(() => configJson(gate), RangeError, "loraRankGate is not set");
  assertEquals(configJson({ ...gate, gateRankType: 1 }).lora_rank_gate, null);
  const rwkv6 = parseConfig(shared("golden", "tiny-rwkv6")) as Rwkv6Qwen2Config;
  const shift = { ...rwkv6, loraRankTokenshift: null };
  assertThrows(() => configJson(shift), RangeError, "loraRankTokenshift is not set");
  assertEquals(configJson({ ...shift, useTokenshift: false }).lora_rank_tokenshift, null);
  const llama = parseConfig({ ...SMALL, model_type: "llama" });
  assertThrows(() => configJson({ ...llama, attentionBias: true }), RangeError, "all attention");
  assertThrows(() => configJson({ ...parseConfig(SMALL), mlpBias: true }), RangeError, "MLPs");
  for (
    const [model_type, change, message] of [
      ["qwen2", { attentionQkNorm: true }, "does not norm"],
      ["llama", { attentionQkNorm: true }, "does not norm"],
      ["llama", { slidingWindow: 8, slidingLayers: [0] }, "no attention windows"],
      ["qwen3", { attentionQkNorm: false }, "norms its queries"],
      ["qwen3", { attentionBias: true }, "all attention projections or in none"],
      ["qwen3", { mlpBias: true }, "MLPs"],
      ["mistral", { attentionQkNorm: true }, "does not norm"],
      ["mistral", { attentionBias: true }, "no biases"],
      ["mistral", { slidingWindow: 8, slidingLayers: [0] }, "every layer or in none"],
    ] as const
  ) {
    const config = parseConfig({ ...SMALL, model_type, num_key_value_heads: 2 });
    assertThrows(() => configJson({ ...config, ...change } as ModelConfig), RangeError, message);
  }
});

for (
  const [what, keys, expected] of [
    [
      "another family",
      { model_type: "gpt2" },
      `model_type: expected one of ${MODEL_TYPES.join(", ")}, found "gpt2"`,
    ],
    ["a family of Object", { model_type: "constructor" }, 'found "constructor"'],
    ["no family", { model_type: null }, "found null; other architectures are not implemented"],
    ["no vocabulary", { vocab_size: null }, "vocab_size: expected a positive integer, found null"],
    [
      "a text for a size",
      { hidden_size: "32" },
      'hidden_size: expected a positive integer, found "',
    ],
    ["half a layer", { num_hidden_layers: 1.5 }, "num_hidden_layers: expected a positive integer"],
    ["a million layers", { num_hidden_layers: 1e6 }, "up to 4096, found 1000000"],
    ["a huge vocabulary", { vocab_size: 2 ** 31 }, "vocab_size: expected a positive integer"],
    ["heads that do not divide", { hidden_size: 34 }, "expected a multiple of 4 heads, or a head_"],
    ["odd heads", { head_dim: 7 }, "head_dim: expected heads of an even width, found 7"],
    ["groups that do not divide", { num_key_value_heads: 3 }, "expected a divisor of 4 heads"],
    ["another activation", { hidden_act: "gelu" }, 'hidden_act: expected "silu", found "gelu"'],
    ["a negative eps", { rms_norm_eps: -1 }, "rms_norm_eps: expected a positive number"],
    ["a flag that is a number", { tie_word_embeddings: 1 }, "expected true or false, found 1"],
    ["a token id below zero", { bos_token_id: -1 }, "bos_token_id: expected a non-negative"],
    ["token ids of text", { eos_token_id: ["x"] }, "eos_token_id: expected a token id or a list"],
    ["another dtype", { torch_dtype: "float8" }, "torch_dtype: expected one of float64"],
    ["quantised weights", { quantization_config: {} }, "use the checkpoint before quantisation"],
    [
      "a scaling that depends on the text",
      { rope_scaling: { type: "dynamic", factor: 2 } },
      'rope_scaling.type: expected one of "default", "linear", "llama3", "yarn", found "dynamic"; ' +
      "dynamic and longrope turn by angles",
    ],
    [
      "angles by layer",
      { rope_parameters: { full_attention: { rope_theta: 1e4 } } },
      "rope_parameters.full_attention: expected nothing",
    ],
    [
      "linear scaling without a factor",
      { rope_scaling: { type: "linear" } },
      "rope_scaling.factor: expected a positive number",
    ],
    [
      "YaRN between no turns",
      { rope_scaling: { type: "yarn", factor: 2, beta_fast: 1, beta_slow: 2 } },
      "rope_scaling.beta_fast: expected more than the beta_slow of 2",
    ],
    ["scaling as text", { rope_scaling: "llama3" }, "rope_scaling: expected an object"],
    [
      "scaling without a factor",
      { rope_scaling: { rope_type: "llama3", low_freq_factor: 1, high_freq_factor: 4 } },
      "rope_scaling.factor: expected a positive number, found nothing",
    ],
    [
      "scaling between no wavelengths",
      { rope_scaling: { rope_type: "llama3", factor: 8, low_freq_factor: 4, high_freq_factor: 4 } },
      "rope_scaling.high_freq_factor: expected more than the low_freq_factor of 4",
    ],
    [
      "partly rotated heads",
      { rope_parameters: { rope_theta: 1e4, partial_rotary_factor: 0.5 } },
      "partial_rotary_factor: expected 1",
    ],
    [
      "a window of nothing",
      { use_sliding_window: true, sliding_window: 0 },
      "sliding_window: expected a positive integer, found 0",
    ],
    [
      "attention windows of llama",
      { model_type: "llama", use_sliding_window: true, sliding_window: 8, max_window_layers: 2 },
      "use_sliding_window: expected false, found true; llama has no attention windows",
    ],
    [
      "windows that nobody turned on",
      { layer_types: ["full_attention", "full_attention", "sliding_attention"] },
      "use_sliding_window: expected true, with a sliding_window, found nothing",
    ],
    ["too few kinds of layers", { layer_types: ["full_attention"] }, "for each of the 3 layers"],
    [
      "other kinds of layers",
      { layer_types: ["full_attention", "linear_attention", "full_attention"] },
      "layer_types: expected",
    ],
    [
      "layers of mistral that contradict its window",
      {
        ...{ model_type: "mistral", num_key_value_heads: 2, sliding_window: null },
        layer_types: ["full_attention", "sliding_attention", "full_attention"],
      },
      'layer_types: expected "full_attention" for every layer',
    ],
  ] as ReadonlyArray<readonly [string, JsonObject, string]>
) {
  Deno.test(`refuses ${what}`, () => {
    assertStringIncludes(messageOf(() => parseConfig({ ...SMALL, ...keys })), expected);
  });
}

for (
  const [what, keys, expected] of [
    ["with a token shift", { use_tokenshift: true }, "rwkv7qwen2 has no token shift"],
    ["without a flag", { use_rope: undefined }, "use_rope: expected true or false, found nothing"],
    [
      "with another gate",
      { gate_rank_type: 3 },
      "gate_rank_type: expected one of 0, 1, 2, found 3",
    ],
    ["with a rank of zero", { lora_rank_decay: 0 }, "lora_rank_decay: expected a positive integer"],
    ["with too many layers", { num_attention_layers: 4 }, "expected at most the 3 layers, found 4"],
    ["with layers out of order", { attention_layers: [2, 0] }, "ascending layers from 0 to 2"],
    ["with a layer twice", { attention_layers: [1, 1] }, "ascending layers from 0 to 2"],
    ["with a layer too deep", { attention_layers: [3] }, "ascending layers from 0 to 2"],
    [
      "with two opinions",
      { attention_layers: [0], num_attention_layers: 2 },
      "num_attention_layers: expected 1, as many as attention_layers lists, found 2",
    ],
  ] as ReadonlyArray<readonly [string, JsonObject, string]>
) {
  Deno.test(`refuses rwkv7qwen2 ${what}`, () => {
    assertStringIncludes(messageOf(() => parseConfig({ ...RWKV7, ...keys })), expected);
  });
}

Deno.test("refuses rwkv6qwen2 that does not say whether there is a token shift", () => {
  const { use_tokenshift: _, ...rest } = shared("golden", "tiny-rwkv6");
  const message = messageOf(() => parseConfig(rest));
  assertStringIncludes(message, "use_tokenshift: expected true or false, found nothing");
});

Deno.test("reports all problems of a config at once", () => {
  const message = messageOf(() =>
    parseConfig({ model_type: "llama", hidden_act: "relu" }, "c.json")
  );
  assertStringIncludes(message, "6 problems in c.json:");
  for (const key of ["vocab_size", "hidden_size", "num_hidden_layers", "hidden_act"]) {
    assertStringIncludes(message, `\n  ${key}: expected`);
  }
});

Deno.test("a missing config.json, and one that is no object", () => {
  withFolder((folder) => {
    assertStringIncludes(messageOf(() => readConfig(folder)), "found no such file or folder");
    Deno.writeTextFileSync(join(folder, "config.json"), "[1]");
    assertStringIncludes(messageOf(() => readConfig(folder)), "expected a JSON object");
    Deno.writeTextFileSync(join(folder, "config.json"), "{");
    assertStringIncludes(messageOf(() => readConfig(folder)), "expected JSON, found");
  });
  assertStringIncludes(messageOf(() => parseConfig("x")), 'expected a JSON object, found "x"');
});
