/** A checkpoint on a server: looked at by its headers, loaded by ranges, tensor by tensor. */

import type { Device } from "../devices/device.ts";
import {
  createStore,
  layoutOf,
  type NamedShape,
  storeBindings,
  storeInputs,
} from "../devices/store.ts";
import { decodeF32 } from "../formats/elements.ts";
import { DTYPE_BYTES } from "../formats/dtype.ts";
import { type ModelConfig, parseConfig } from "../formats/hf_config/config.ts";
import { isJsonObject, type JsonObject, parseJson } from "../formats/json.ts";
import {
  headerLength,
  LENGTH_BYTES,
  parseHeader,
  type TensorInfo,
} from "../formats/safetensors/header.ts";
import { INDEX_FILE, parseWeightMap, SINGLE_FILE } from "../formats/safetensors/weight_map.ts";
import { TOKENIZER_CONFIG_FILE, TOKENIZER_FILE } from "../formats/tokenizer/files.ts";
import { Tokenizer } from "../formats/tokenizer/tokenizer.ts";
import { size } from "../graph/tensor.ts";
import { checkedSpec, checkVocabulary, checkWidths } from "../infer/checks.ts";
import type { LoadedModel } from "../infer/session.ts";
import { storedAs } from "../infer/weights.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import type { Parameter } from "../models/parameter.ts";
import type { ServedFiles } from "./models.ts";
import { readRange, readText } from "./remote_file.ts";

/** How a checkpoint is loaded. */
export interface LoadOptions {
  /** How large a piece of the device's memory may be, in bytes. */
  readonly partBytes: number;
  /** Bytes of a tensor that are fetched, converted and written at a time, a multiple of 8. */
  readonly blockBytes?: number;
  /** Told of the bytes so far, and of all. */
  readonly progress: (bytes: number, total: number) => void;
}

/** A checkpoint whose weights are still on the server. */
export interface RemoteCheckpoint {
  readonly config: ModelConfig;
  readonly spec: ModelSpec;
  readonly tokenizer: Tokenizer;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
}

/** The tensors of one safetensors file. */
async function readTensors(url: string): Promise<readonly TensorInfo[]> {
  const { bytes: prefix, size } = await readRange(url, 0, LENGTH_BYTES);
  const end = LENGTH_BYTES + headerLength(prefix, size, url);
  const { bytes } = await readRange(url, LENGTH_BYTES, end);
  return parseHeader(bytes, size, url).tensors;
}

/** Tensors by name, of one file or of those that an index names. */
async function findTensors(
  { folder, files }: ServedFiles,
): Promise<ReadonlyMap<string, TensorInfo>> {
  if (!files.includes(INDEX_FILE)) {
    const tensors = await readTensors(`${folder}/${SINGLE_FILE}`);
    return new Map(tensors.map((tensor) => [tensor.name, tensor]));
  }
  const indexFile = `${folder}/${INDEX_FILE}`;
  const weightMap = parseWeightMap(await readText(indexFile), indexFile);
  const found = await Promise.all(
    [...new Set(weightMap.values())].map((name) => readTensors(`${folder}/${name}`)),
  );
  const named = ({ name, file }: TensorInfo) => file === `${folder}/${weightMap.get(name)}`;
  return new Map(found.flat().filter(named).map((tensor) => [tensor.name, tensor]));
}

/** A text file as a JSON object. */
async function readObject(file: string): Promise<JsonObject> {
  const value = parseJson(await readText(file), file);
  if (!isJsonObject(value)) throw new Error(`${file}: expected a JSON object`);
  return value;
}

/**
 * Reads a checkpoint's config, tokenizer and headers.
 * @throws FormatError for everything that is missing, of another shape or not a number type.
 */
export async function openRemote(served: ServedFiles): Promise<RemoteCheckpoint> {
  const { folder, files } = served;
  const [configFile, tokenizerFile] = [`${folder}/config.json`, `${folder}/${TOKENIZER_FILE}`];
  const optionsFile = `${folder}/${TOKENIZER_CONFIG_FILE}`;
  const [config, pieces, options, tensors] = await Promise.all([
    readObject(configFile).then((json) => parseConfig(json, configFile)),
    readObject(tokenizerFile),
    files.includes(TOKENIZER_CONFIG_FILE) ? readObject(optionsFile) : {},
    findTensors(served),
  ]);
  checkWidths(configFile, config);
  const spec = checkedSpec(config, { path: folder, tensors });
  const tokenizer = new Tokenizer(pieces, options, tokenizerFile);
  checkVocabulary(tokenizerFile, tokenizer, config);
  return { config, spec, tokenizer, tensors };
}

/**
 * How parameters are held: what is bf16 on the server stays so where kernels read it, all else is
 * f32.
 */
function heldAs(
  parameters: readonly Parameter[],
  tensors: ReadonlyMap<string, TensorInfo>,
): NamedShape[] {
  const isNarrow = ({ name }: Parameter) => tensors.get(name)!.dtype === "BF16";
  return parameters.flatMap((own) => storedAs([own], isNarrow(own) ? "bf16" : "f32"));
}

/** Tensors in their order, in parts that fit into so many bytes; at least one each. */
export function inParts(tensors: readonly NamedShape[], mostBytes: number): NamedShape[][] {
  const parts: NamedShape[][] = [];
  let left = 0;
  for (const tensor of tensors) {
    const bytes = layoutOf([tensor]).size * 4;
    if (bytes > left || parts.length === 0) {
      parts.push([]);
      left = mostBytes;
    }
    parts[parts.length - 1].push(tensor);
    left -= bytes;
  }
  return parts;
}

/** A part of a tensor on the server, and the elements that it holds. */
interface Block {
  readonly tensor: TensorInfo;
  readonly first: number;
  readonly count: number;
}

/** The blocks of a tensor. */
function blocksOf(tensor: TensorInfo, blockBytes: number): Block[] {
  const step = blockBytes / DTYPE_BYTES[tensor.dtype];
  const total = size(tensor.shape);
  return Array.from({ length: Math.ceil(total / step) }, (_, i) => ({
    tensor,
    first: i * step,
    count: Math.min(step, total - i * step),
  }));
}

function readBlock({ tensor, first, count }: Block): Promise<Uint8Array> {
  const bytes = DTYPE_BYTES[tensor.dtype];
  const begin = tensor.begin + first * bytes;
  return readRange(tensor.file, begin, begin + count * bytes).then((part) => part.bytes);
}

/**
 * Streams a checkpoint's weights onto a device; the next block is on its way while one is converted
 * and written.
 * @throws Error where a range does not arrive, or the device has too little memory; it holds nothing
 * of the model then
 */
export async function loadRemote(
  device: Device,
  { spec, tensors }: RemoteCheckpoint,
  { partBytes, blockBytes = 1 << 24, progress }: LoadOptions,
): Promise<LoadedModel> {
  const parts = inParts(heldAs(modelParameters(spec), tensors), partBytes);
  const stores = parts.map((part) => createStore(device, layoutOf(part)));
  const targets = new Map(
    stores.flatMap((store) =>
      store.layout.tensors.map(({ name, dtype }) => [name, { memory: store.at(name), dtype }])
    ),
  );
  const blocks = [...targets.keys()].flatMap((name) => blocksOf(tensors.get(name)!, blockBytes));
  const bytesOf = ({ tensor, count }: Block) => count * DTYPE_BYTES[tensor.dtype];
  const total = blocks.reduce((sum, block) => sum + bytesOf(block), 0);
  let done = 0;
  let next = readBlock(blocks[0]);
  try {
    for (const [i, block] of blocks.entries()) {
      const bytes = await next;
      if (i + 1 < blocks.length) next = readBlock(blocks[i + 1]);
      const { memory, dtype } = targets.get(block.tensor.name)!;
      if (dtype === undefined) {
        const values = new Float32Array(block.count);
        decodeF32(block.tensor.dtype, bytes, values);
        device.write(memory.slice(4 * block.first, 4 * block.count), values);
      } else device.write(memory.slice(2 * block.first, 2 * block.count), bytes);
      progress(done += bytesOf(block), total);
    }
  } catch (error) {
    // What is still on its way is of no use any more, whatever becomes of it.
    next.catch(() => {});
    stores.forEach((store) => store.free());
    throw error;
  }
  return {
    spec,
    device,
    inputs: new Map(stores.flatMap(({ layout }) => [...storeInputs(layout, "")])),
    bindings: Object.assign({}, ...stores.map((store) => storeBindings(store, ""))),
  };
}
