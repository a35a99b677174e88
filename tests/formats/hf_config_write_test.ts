import { assertEquals, assertThrows } from "@std/assert";
import {
  configJson,
  type ModelConfig,
  parseConfig,
  type Rwkv6Qwen2Config,
  type Rwkv7Qwen2Config,
} from "../../formats/hf_config/config.ts";
import type { JsonObject } from "../../formats/json.ts";
import { fixture, golden, RWKV7, shared, SMALL } from "./hf_config_support.ts";

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
