/** A checkpoint of any size with random weights, in bf16, a file a layer. */

import { join } from "node:path";
import { AtomicFile, writeJsonAtomic } from "../formats/atomic_file.ts";
import { encode } from "../formats/elements.ts";
import { INDEX_FILE } from "../formats/safetensors/weight_map.ts";
import { DEFAULT_METADATA, formatHeader } from "../formats/safetensors/write.ts";
import { size } from "../graph/tensor.ts";
import type { DecoderConfig } from "../models/config.ts";
import { layerPrefix, modelParameters } from "../models/decoder.ts";
import type { Parameter } from "../models/parameter.ts";
import { randomStream } from "../models/random.ts";

/** Random numbers that are drawn; a tensor takes them from a place of its own, again and again. */
const DRAWN = 1 << 20;

function tensorBytes(
  { name, initial }: Parameter,
  values: number,
  drawn: Uint8Array,
): Iterable<Uint8Array> {
  const constant = initial.kind === "constant" ? initial.value : undefined;
  const block = constant === undefined
    ? drawn
    : encode("BF16", new Float32Array(Math.min(values, DRAWN)).fill(constant));
  // Somewhere else in every tensor, so that no two are alike.
  let at = constant === undefined ? 2 * Math.floor(randomStream(1, name).uniform() * DRAWN) : 0;
  return {
    *[Symbol.iterator]() {
      for (let left = 2 * values; left > 0; at = 0) {
        const part = block.subarray(at, at + left);
        left -= part.length;
        yield part;
      }
    },
  };
}

/** Writes a qwen2 of attention layers into a folder: its config, an index, a file a layer. */
export function writeRandomCheckpoint(folder: string, config: DecoderConfig): void {
  const parameters = modelParameters({
    config,
    mixers: Array.from({ length: config.layers }, () => ({ kind: "attention" as const })),
  });
  const random = randomStream(1, "checkpoint");
  const drawn = encode("BF16", Float32Array.from({ length: DRAWN }, () => 0.02 * random.normal()));
  const files = Map.groupBy(parameters, ({ name }) => {
    const layer = /^model\.layers\.(\d+)\./.exec(name)?.[1];
    return `${layer !== undefined ? layerPrefix(Number(layer)) : "model.ends."}safetensors`;
  });
  for (const [name, own] of files) {
    using file = new AtomicFile(join(folder, name));
    const tensors = own.map(({ name, shape }) => ({
      name,
      shape,
      dtype: "BF16" as const,
      data: new Uint8Array(),
    }));
    file.write(formatHeader(tensors, DEFAULT_METADATA));
    for (const parameter of own) {
      for (const bytes of tensorBytes(parameter, size(parameter.shape), drawn)) file.write(bytes);
    }
    file.commit();
  }
  const map = [...files].flatMap(([file, own]) => own.map(({ name }) => [name, file]));
  writeJsonAtomic(join(folder, INDEX_FILE), { metadata: {}, weight_map: Object.fromEntries(map) });
  writeJsonAtomic(join(folder, "config.json"), {
    model_type: "qwen2",
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.attentionHeads,
    num_key_value_heads: config.keyValueHeads,
    head_dim: config.headDim,
    vocab_size: config.vocabSize,
    rms_norm_eps: config.rmsNormEps,
    rope_theta: config.ropeTheta,
    tie_word_embeddings: config.tieWordEmbeddings,
    max_position_embeddings: 32768,
    torch_dtype: "bfloat16",
  });
}
