/** config.json of a Hugging Face folder, as a plain value in the field's own names, and back. */
import { FormatError, show } from "../error.ts";
import type { JsonObject } from "../json.ts";
import type { Family } from "./family.ts";
import { topFields } from "./fields.ts";
import { llama } from "./llama.ts";
import { mistral } from "./mistral.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";
import { rwkv6qwen2 } from "./rwkv6qwen2.ts";
import { rwkv7qwen2 } from "./rwkv7qwen2.ts";

export type { DecoderConfig, TorchDtype } from "./decoder.ts";
export type { RopeScaling } from "./rope.ts";
export type { ConvertedConfig, GateRankType } from "./converted.ts";
export type { Rwkv6Qwen2Config } from "./rwkv6qwen2.ts";
export type { Rwkv7Qwen2Config } from "./rwkv7qwen2.ts";

/** The known families: a new one is a file and a line here. */
const FAMILIES = { qwen2, qwen3, llama, mistral, rwkv6qwen2, rwkv7qwen2 } as const;

/** The config of any family that is read, told apart by `modelType`. */
export type ModelConfig = ReturnType<typeof FAMILIES[keyof typeof FAMILIES]["read"]>;

/** The families that are read. */
export type ModelType = ModelConfig["modelType"];

/** The largest config.json that is read. */
export const CONFIG_LIMIT = 10_000_000;

/** Every `model_type` that is read. */
export const MODEL_TYPES: readonly ModelType[] = Object.freeze(
  Object.keys(FAMILIES) as ModelType[],
);

/**
 * Checks the JSON of a config.json.
 * @param file what messages name
 * @throws FormatError with everything in it that is wrong or not implemented.
 */
export function parseConfig(json: unknown, file = "config.json"): ModelConfig {
  const fields = topFields(json, file);
  const modelType = MODEL_TYPES.find((type) => type === fields.json.model_type);
  if (modelType === undefined) {
    throw new FormatError({
      file,
      at: "model_type",
      expected: `one of ${MODEL_TYPES.join(", ")}`,
      found: show(fields.json.model_type),
      advice: "other architectures are not implemented",
    });
  }
  const config: ModelConfig = FAMILIES[modelType].read(fields);
  fields.finish();
  return freeze(config);
}

/**
 * The contents of config.json, with `architectures` and every key that other readers ask for.
 * @param extra keys to add, `auto_map` for one
 * @throws RangeError where the family has no key for a value, or a rank is not set.
 */
export function configJson(config: ModelConfig, extra: JsonObject = {}): JsonObject {
  const { architecture, write } = FAMILIES[config.modelType] as Family<ModelConfig>;
  return {
    architectures: [architecture],
    model_type: config.modelType,
    ...write(config),
    ...extra,
  };
}

function freeze(config: ModelConfig): ModelConfig {
  for (const value of Object.values(config)) Object.freeze(value);
  return Object.freeze(config);
}
