/** The frozen teacher on a device: in the type of its checkpoint where that is narrower than f32. */

import type { Device } from "../devices/device.ts";
import { createStore, layoutOf, type NamedShape } from "../devices/store.ts";
import { openCheckpoint } from "../formats/safetensors/checkpoint.ts";
import { type Checkpoint, type LoadedCheckpoint, loadedModel } from "../infer/loading.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";

/** The matrices that a model reads by products and embeddings alone. */
const MATRICES = /(^model\.embed_tokens|^lm_head|_proj)\.weight$/;

/**
 * A teacher's parameters as they are kept: matrices that its checkpoint has in bf16 in bf16, half as
 * large as in f32, all else in f32. What is computed of them has the same bits.
 * @param dtypeOf the type of a tensor in the checkpoint
 */
export function teacherParameters(
  spec: ModelSpec,
  dtypeOf: (name: string) => string | undefined,
): NamedShape[] {
  return modelParameters(spec).map(({ name, shape }) =>
    MATRICES.test(name) && dtypeOf(name) === "BF16"
      ? { name, shape, dtype: "bf16" }
      : { name, shape }
  );
}

/** Puts a teacher's weights on a device. Nothing can be trained through them. */
export function loadTeacher(
  device: Device,
  { folder, config, spec }: Checkpoint,
): LoadedCheckpoint {
  using tensors = openCheckpoint(folder);
  const dtypeOf = (name: string) => tensors.tensors.get(name)?.dtype;
  const store = createStore(device, layoutOf(teacherParameters(spec, dtypeOf)));
  try {
    for (const { name } of store.layout.tensors) store.write(name, tensors.readF32(name));
  } catch (error) {
    store.free();
    throw error;
  }
  return loadedModel(device, spec, config, store);
}
