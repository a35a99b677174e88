import { assert, assertEquals } from "@std/assert";
import {
  type ModelConfig,
  parseConfig,
  type Rwkv6Qwen2Config,
  type Rwkv7Qwen2Config,
} from "../../formats/hf_config/config.ts";
import { readConfig } from "../../formats/hf_config/read.ts";
import type { JsonObject } from "../../formats/json.ts";
import { sharedPath } from "../support/shared.ts";
import { fixture, golden, RWKV7, SMALL } from "./hf_config_support.ts";

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
