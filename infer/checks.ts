/** Whether a checkpoint is one that can be computed with, wherever its files are. */

import { FormatError } from "../formats/error.ts";
import type { ModelConfig } from "../formats/hf_config/config.ts";
import { expectTensors, type TensorList } from "../formats/safetensors/expect.ts";
import type { Tokenizer } from "../formats/tokenizer/tokenizer.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import { checkpointSpec } from "../plan/spec.ts";

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
 * What a checkpoint is.
 * @throws FormatError for every tensor that is missing, of another shape or not a number type.
 */
export function checkedSpec(config: ModelConfig, tensors: TensorList): ModelSpec {
  const spec = checkpointSpec(config, tensors.tensors);
  expectTensors(tensors, modelParameters(spec));
  return spec;
}

/**
 * Refuses a tokenizer with more pieces than the model has embeddings.
 * @param file what messages name
 */
export function checkVocabulary(
  file: string,
  { vocabularySize }: Tokenizer,
  { vocabSize }: ModelConfig,
): void {
  if (vocabularySize <= vocabSize) return;
  throw new FormatError({
    file,
    expected: `at most ${vocabSize} pieces, the embeddings of the model`,
    found: `${vocabularySize}`,
    advice: "use the tokenizer that belongs to this checkpoint",
  });
}
