import { assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { MODEL_TYPES, parseConfig } from "../../formats/hf_config/config.ts";
import { readConfig } from "../../formats/hf_config/read.ts";
import type { JsonObject } from "../../formats/json.ts";
import { RWKV7, shared, SMALL } from "./hf_config_support.ts";
import { messageOf, withFolder } from "./support.ts";

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
