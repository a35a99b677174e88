/** Configs to read. */

import { join } from "node:path";
import type { JsonObject } from "../../formats/json.ts";
import { sharedPath } from "../support/shared.ts";
import { fixturePath } from "./support.ts";

/** A config that transformers or we wrote for the tests. */
export const fixture = (name: string) =>
  JSON.parse(Deno.readTextFileSync(fixturePath("hf_config", `${name}.json`)));

/** The config of a model that all projects share. */
export const shared = (...parts: string[]) =>
  JSON.parse(Deno.readTextFileSync(join(sharedPath(...parts), "config.json")));

/** The least that a family asks for. */
export const SMALL: JsonObject = {
  model_type: "qwen2",
  vocab_size: 100,
  hidden_size: 32,
  intermediate_size: 80,
  num_hidden_layers: 3,
  num_attention_heads: 4,
};

/** A converted one. */
export const RWKV7: JsonObject = {
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

/** A golden checkpoint's config, as transformers 5.18 wrote it. */
export const golden = (name: string) =>
  JSON.parse(
    Deno.readTextFileSync(
      new URL(`../models/fixtures/golden/${name}/config.json`, import.meta.url),
    ),
  );
