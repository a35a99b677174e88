/** Checkpoints from disk to a device. */

import type { Device } from "../devices/device.ts";
import { createStore, layoutOf, type Store, storeBindings, storeInputs } from "../devices/store.ts";
import { FormatError } from "../formats/error.ts";
import type { ModelConfig } from "../formats/hf_config/config.ts";
import { readConfig } from "../formats/hf_config/read.ts";
import { openCheckpoint } from "../formats/safetensors/checkpoint.ts";
import type { Tokenizer } from "../formats/tokenizer/tokenizer.ts";
import { loadTokenizer } from "../formats/tokenizer/load.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import { checkedSpec, checkVocabulary, checkWidths } from "./checks.ts";
import type { LoadedModel } from "./session.ts";
import { storedAs, type WeightFormat } from "./weights.ts";

/** A checkpoint that has been looked at but not read. */
export interface Checkpoint {
  readonly folder: string;
  readonly config: ModelConfig;
  readonly spec: ModelSpec;
}

/** A loaded checkpoint. Free it. */
export interface LoadedCheckpoint extends LoadedModel {
  readonly config: ModelConfig;
  readonly store: Store;
  free(): void;
}

/**
 * Reads a checkpoint's config and headers.
 * @throws FormatError for everything that is missing, of another shape or not a number type.
 */
export function inspectCheckpoint(folder: string): Checkpoint {
  const config = readConfig(folder);
  checkWidths(`${folder}/config.json`, config);
  using tensors = openCheckpoint(folder);
  return { folder, config, spec: checkedSpec(config, tensors) };
}

/**
 * Puts a checkpoint's weights on a device, tensor by tensor, in a format.
 * @throws FormatError for a weight that the format does not hold.
 */
export function loadCheckpoint(
  device: Device,
  { folder, config, spec }: Checkpoint,
  format: WeightFormat = "f32",
) {
  using tensors = openCheckpoint(folder);
  const layout = layoutOf(storedAs(modelParameters(spec), format));
  const store = createStore(device, layout);
  try {
    for (const { name } of layout.tensors) {
      const values = tensors.readF32(name);
      try {
        store.write(name, values);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        throw new FormatError({
          file: tensors.info(name).file,
          at: `tensor ${JSON.stringify(name)}`,
          expected: `weights that ${format} holds`,
          found: error.message,
          advice: "load it with --weights f32 or bf16",
        }, { cause: error });
      }
    }
  } catch (error) {
    store.free();
    throw error;
  }
  return loadedModel(device, spec, config, store);
}

/** A model whose weights are in a store already. */
export function loadedModel(
  device: Device,
  spec: ModelSpec,
  config: ModelConfig,
  store: Store,
): LoadedCheckpoint {
  return {
    spec,
    config,
    device,
    store,
    inputs: storeInputs(store.layout, ""),
    bindings: storeBindings(store, ""),
    free: () => store.free(),
  };
}

/**
 * A checkpoint's tokenizer.
 * @throws FormatError also where it has more pieces than the model has embeddings.
 */
export function checkpointTokenizer(folder: string, config: ModelConfig): Tokenizer {
  const tokenizer = loadTokenizer(folder);
  checkVocabulary(`${folder}/tokenizer.json`, tokenizer, config);
  return tokenizer;
}
