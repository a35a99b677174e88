/** The files of a checkpoint that the page reads. */

import { join } from "node:path";
import { isFile } from "../../formats/files.ts";
import { openCheckpoint } from "../../formats/safetensors/checkpoint.ts";
import { INDEX_FILE, SINGLE_FILE } from "../../formats/safetensors/weight_map.ts";
import { TOKENIZER_CONFIG_FILE, TOKENIZER_FILE } from "../../formats/tokenizer/files.ts";
import type { Checkpoint } from "../../infer/loading.ts";

/** Path on disk of every file by its name: config, tokenizer, weights. */
export function checkpointFiles({ folder }: Checkpoint): ReadonlyMap<string, string> {
  using store = openCheckpoint(folder);
  const weights = new Set([...store.tensors.values()].map(({ file }) => file));
  const single = weights.has(join(folder, SINGLE_FILE));
  const names = ["config.json", TOKENIZER_FILE, TOKENIZER_CONFIG_FILE, single ? "" : INDEX_FILE];
  const paths = names.filter((name) => name !== "").map((name) => join(folder, name));
  return new Map(
    [...paths.filter(isFile), ...weights].map((
      path,
    ) => [path.slice(join(folder, "/").length), path]),
  );
}
