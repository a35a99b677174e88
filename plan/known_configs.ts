/**
 * config.json of teachers that plans know by name, so that a plan needs neither their weights nor a
 * network: the sizes that decide shapes and costs, as published on the hub.
 */

import type { JsonObject } from "../formats/json.ts";

function qwen25(
  [hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads]:
    readonly number[],
  vocab_size: number,
  tie_word_embeddings: boolean,
): JsonObject {
  return Object.freeze({
    model_type: "qwen2",
    hidden_act: "silu",
    hidden_size,
    intermediate_size,
    num_hidden_layers,
    num_attention_heads,
    num_key_value_heads,
    vocab_size,
    tie_word_embeddings,
    max_position_embeddings: 32768,
    rms_norm_eps: 1e-6,
    rope_theta: 1_000_000,
    torch_dtype: "bfloat16",
  });
}

/** Hidden size, intermediate size, layers, heads, key/value heads; vocabulary; tied embeddings. */
const QWEN2_5: Readonly<Record<string, JsonObject>> = Object.freeze({
  "0.5B": qwen25([896, 4864, 24, 14, 2], 151_936, true),
  "1.5B": qwen25([1536, 8960, 28, 12, 2], 151_936, true),
  "3B": qwen25([2048, 11008, 36, 16, 2], 151_936, true),
  "7B": qwen25([3584, 18944, 28, 28, 4], 152_064, false),
  "14B": qwen25([5120, 13824, 48, 40, 8], 152_064, false),
  "32B": qwen25([5120, 27648, 64, 40, 8], 152_064, false),
  "72B": qwen25([8192, 29568, 80, 64, 8], 152_064, false),
});

/** The config of a teacher that is known by its name, Qwen2.5 and its Instruct models. */
export function knownConfig(name: string): JsonObject | undefined {
  const size = /^Qwen\/Qwen2\.5-([\d.]+B)(?:-Instruct)?$/.exec(name)?.[1];
  return size !== undefined && Object.hasOwn(QWEN2_5, size) ? QWEN2_5[size] : undefined;
}
