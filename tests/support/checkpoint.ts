/** Copies of checkpoints with something changed. */

import { openCheckpoint } from "../../formats/safetensors/checkpoint.ts";
import { type TensorSource, writeSafetensors } from "../../formats/safetensors/write.ts";

/** What a checkpoint is made of. */
export interface CheckpointFiles {
  // deno-lint-ignore no-explicit-any
  readonly config: Record<string, any>;
  readonly tensors: Map<string, Omit<TensorSource, "name">>;
}

/** A folder that is removed when it is disposed of. */
export interface TemporaryFolder extends Disposable {
  readonly folder: string;
}

/** A folder for a test. */
export function temporaryFolder(): TemporaryFolder {
  const folder = Deno.makeTempDirSync({ prefix: "suture-test-" });
  return { folder, [Symbol.dispose]: () => Deno.removeSync(folder, { recursive: true }) };
}

/** A copy of a checkpoint, tokenizer included, with a change. */
export function changedCheckpoint(
  source: string,
  change: (files: CheckpointFiles) => void = () => {},
): TemporaryFolder {
  const copy = temporaryFolder();
  for (const { name, isFile } of Deno.readDirSync(source)) {
    if (isFile) Deno.copyFileSync(`${source}/${name}`, `${copy.folder}/${name}`);
  }
  const config = JSON.parse(Deno.readTextFileSync(`${source}/config.json`));
  const tensors = new Map<string, Omit<TensorSource, "name">>();
  using store = openCheckpoint(source);
  for (const { name, dtype, shape } of store.tensors.values()) {
    tensors.set(name, { dtype, shape, data: store.read(name) });
  }
  change({ config, tensors });
  Deno.writeTextFileSync(`${copy.folder}/config.json`, JSON.stringify(config));
  const list = [...tensors].map(([name, tensor]) => ({ name, ...tensor }));
  writeSafetensors(`${copy.folder}/model.safetensors`, list);
  return copy;
}
