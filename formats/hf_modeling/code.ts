/** The Python code with which transformers opens converted checkpoints; it lies beside this file. */

import type { JsonObject } from "../json.ts";

/** The start of the names of a model type's classes. */
const CLASSES: Readonly<Record<string, string>> = {
  rwkv6qwen2: "RWKV6Qwen2",
  rwkv7qwen2: "RWKV7Qwen2",
};

const CONFIGURATION = "configuration_rwkvqwen2";
const MODELING = "modeling_rwkvqwen2";

/** The files of all converted model types. */
export const CODE_FILES: readonly string[] = [
  `${CONFIGURATION}.py`,
  `${MODELING}.py`,
  "mixers_rwkvqwen2.py",
  "wkv_rwkvqwen2.py",
  "cache_rwkvqwen2.py",
];

/** What `trust_remote_code=True` needs beside the weights. */
export interface RemoteCode {
  /** Which class of which file is meant by `AutoConfig` and the like: `auto_map` of config.json. */
  readonly autoMap: JsonObject;
  readonly files: readonly { readonly name: string; readonly content: Uint8Array }[];
}

/** The code of a model type; undefined for those that transformers has itself. */
export function remoteCode(modelType: string): RemoteCode | undefined {
  if (!Object.hasOwn(CLASSES, modelType)) return undefined;
  const name = CLASSES[modelType];
  return {
    autoMap: {
      AutoConfig: `${CONFIGURATION}.${name}Config`,
      AutoModelForCausalLM: `${MODELING}.${name}ForCausalLM`,
    },
    files: CODE_FILES.map((file) => ({
      name: file,
      content: Deno.readFileSync(new URL(file, import.meta.url)),
    })),
  };
}
