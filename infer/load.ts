/** Checkpoints from disk to a device. */

import type { Device } from "../devices/device.ts";
import {
  createStore,
  layoutOf,
  type NamedShape,
  type Store,
  storeBindings,
  storeInputs,
} from "../devices/store.ts";
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

/** The matrices that a model reads by products and embeddings alone, wherever they are frozen. */
const NARROW = /(^model\.embed_tokens|^lm_head|_proj)\.weight$/;

/** How the weights of a checkpoint are put on a device. */
export interface LoadOptions {
  /**
   * Keeps in bf16 the matrices that the checkpoint has in bf16, half as large as in f32. What is
   * computed of them has the same bits, but nothing can be trained through them.
   */
  readonly bf16?: boolean;
}

/** A checkpoint's parameters, and how they are kept on a device. */
export function keptParameters(
  { spec }: Pick<Checkpoint, "spec">,
  dtypeOf: (name: string) => string | undefined,
): NamedShape[] {
  return modelParameters(spec).map(({ name, shape }) =>
    NARROW.test(name) && dtypeOf(name) === "BF16" ? { name, shape, dtype: "bf16" } : { name, shape }
  );
}

/** Logits, caches and what a chunk of text takes beside the weights. */
const BESIDE_WEIGHTS = 2 ** 30;

/** Bytes that a model takes of a device while it reads and writes, its weights all f32. */
export const inferenceBytes = (spec: ModelSpec): number =>
  4 * layoutOf(modelParameters(spec)).size + BESIDE_WEIGHTS;

/** Puts a checkpoint's weights on a device, as f32 unless they may stay narrower. */
export function loadCheckpoint(
  device: Device,
  { folder, config, spec }: Checkpoint,
  { bf16 = false }: LoadOptions = {},
) {
  using tensors = openCheckpoint(folder);
  const dtypeOf = (name: string) => bf16 ? tensors.tensors.get(name)?.dtype : undefined;
  const layout = layoutOf(keptParameters({ spec }, dtypeOf));
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
