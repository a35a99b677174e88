/** A layer of a stage that goes layer by layer, on disk: what it learnt, its moments, how far it is. */

import { join } from "node:path";
import type { Device } from "../../devices/device.ts";
import { AtomicFile } from "../../formats/atomic_file.ts";
import { FormatError } from "../../formats/error.ts";
import { isFile } from "../../formats/files.ts";
import { openSafetensors, type TensorStore } from "../../formats/safetensors/store.ts";
import { formatHeader } from "../../formats/safetensors/write.ts";
import type { TrainingStores } from "../run_folder.ts";
import { fillStore, WEIGHT_BLOCK } from "../weights.ts";

/** How far a layer is, and what it found in the present window of steps. */
export interface LayerProgress {
  /** Steps of the stage that the layer has done. */
  readonly step: number;
  /** Of the window's steps: the layer's part of the loss, and the norm of its gradient. */
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  /** Seconds spent on them. */
  readonly seconds: number;
}

/** Key of the progress in a file's metadata; another number for another form of it. */
const KEY = "suture.layer.1";

/** The file of a layer. */
const layerFile = (folder: string, layer: number): string =>
  join(folder, `layer-${layer}.safetensors`);

/** Opens a layer's file; undefined where there is none yet. Close it. */
export function openLayer(
  folder: string,
  layer: number,
): { readonly file: TensorStore; readonly progress: LayerProgress } | undefined {
  const path = layerFile(folder, layer);
  if (!isFile(path)) return undefined;
  const file = openSafetensors(path);
  const text = file.metadata[KEY];
  if (text !== undefined) return { file, progress: JSON.parse(text) };
  file.close();
  throw new FormatError({
    file: path,
    expected: "a layer of this version of Suture",
    found: "another file",
    advice: "run it with --restart, which starts afresh",
  });
}

/** How far a layer is. */
export function layerProgress(folder: string, layer: number): LayerProgress {
  const opened = openLayer(folder, layer);
  opened?.file.close();
  return opened?.progress ?? { step: 0, losses: [], norms: [], seconds: 0 };
}

/** The prefix of the weights in a layer's file. */
export const WEIGHTS_PREFIX = "weights.";

/** The parts of a layer's file, with the prefixes of their tensors. */
const parts = ({ weights, first, second }: TrainingStores) =>
  [[WEIGHTS_PREFIX, weights], ["first.", first], ["second.", second]] as const;

/**
 * Writes a layer, beside and renamed. A weight or moment that is not finite leaves the old file as it
 * is.
 * @returns the name of the first tensor with such a value
 */
export async function saveLayer(
  folder: string,
  layer: number,
  device: Device,
  progress: LayerProgress,
  stores: TrainingStores,
): Promise<string | undefined> {
  const tensors = parts(stores).flatMap(([prefix, store]) =>
    store.layout.tensors.map(({ name, shape, size }) => ({
      name: prefix + name,
      dtype: "F32" as const,
      shape,
      data: new Uint8Array(),
      memory: store.at(name),
      size,
    }))
  );
  using file = new AtomicFile(layerFile(folder, layer));
  file.write(formatHeader(tensors, { format: "pt", [KEY]: JSON.stringify(progress) }));
  const block = new Float32Array(WEIGHT_BLOCK);
  for (const { name, memory, size } of tensors) {
    for (let at = 0; at < size; at += WEIGHT_BLOCK) {
      const part = block.subarray(0, Math.min(WEIGHT_BLOCK, size - at));
      await device.read(memory.slice(4 * at, 4 * part.length), part);
      if (!part.every(Number.isFinite)) return name;
      file.write(new Uint8Array(part.buffer, 0, part.byteLength));
    }
  }
  file.commit();
  return undefined;
}

/** Reads a layer's weights and moments into the stores. */
export async function loadLayer(
  file: TensorStore,
  device: Device,
  stores: TrainingStores,
): Promise<void> {
  for (const [prefix, store] of parts(stores)) {
    await fillStore(device, store, file, (name) => prefix + name);
  }
}
