/** Checkpoints from disk to a device. */

import type { Device } from "../devices/device.ts";
import { createStore, layoutOf, type Store, storeBindings, storeInputs } from "../devices/store.ts";
import { FormatError } from "../formats/error.ts";
import { type ModelConfig, readConfig } from "../formats/hf_config/config.ts";
import { openCheckpoint } from "../formats/safetensors/checkpoint.ts";
import { expectTensors } from "../formats/safetensors/expect.ts";
import { loadTokenizer, type Tokenizer } from "../formats/tokenizer/tokenizer.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import { checkpointSpec } from "../plan/spec.ts";
import type { LoadedModel } from "./session.ts";

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
 * What the kernels need of a config.
 * @param file what messages name
 */
export function checkWidths(file: string, { headDim, vocabSize }: ModelConfig): void {
  if (headDim % 4 !== 0 || headDim < 8 || headDim > 256) {
    throw new FormatError({
      file,
      at: "head_dim",
      expected: "a multiple of 4 from 8 to 256",
      found: `${headDim}`,
      advice: "other head widths have no kernels",
    });
  }
  if (vocabSize > 2 ** 24) {
    throw new FormatError({
      file,
      at: "vocab_size",
      expected: `at most ${2 ** 24}`,
      found: `${vocabSize}`,
    });
  }
}

/**
 * Reads a checkpoint's config and headers.
 * @throws FormatError for everything that is missing, of another shape or not a number type.
 */
export function inspectCheckpoint(folder: string): Checkpoint {
  const config = readConfig(folder);
  checkWidths(`${folder}/config.json`, config);
  using tensors = openCheckpoint(folder);
  const spec = checkpointSpec(config, tensors.tensors);
  expectTensors(tensors, modelParameters(spec));
  return { folder, config, spec };
}

/** Puts a checkpoint's weights on a device, as f32. */
export function loadCheckpoint(device: Device, { folder, config, spec }: Checkpoint) {
  using tensors = openCheckpoint(folder);
  const layout = layoutOf(modelParameters(spec));
  const store = createStore(device, layout);
  try {
    for (const { name } of layout.tensors) store.write(name, tensors.readF32(name));
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
export function checkpointTokenizer(folder: string, { vocabSize }: ModelConfig): Tokenizer {
  const tokenizer = loadTokenizer(folder);
  if (tokenizer.vocabularySize > vocabSize) {
    throw new FormatError({
      file: `${folder}/tokenizer.json`,
      expected: `at most ${vocabSize} pieces, the embeddings of the model`,
      found: `${tokenizer.vocabularySize}`,
      advice: "use the tokenizer that belongs to this checkpoint",
    });
  }
  return tokenizer;
}
