/** Where weights come from, block by block, so that no tensor need be on the host as a whole. */

import type { Device } from "../devices/device.ts";
import type { Store } from "../devices/store.ts";

/** Named tensors that can be read by ranges. */
export interface Weights {
  /** Elements of a tensor, row-major, from element `start` on: as many as `into` has. */
  readRangeF32(name: string, start: number, into: Float32Array): void | Promise<void>;
}

/** Weights on disk, and what is made of a seed. Dispose them. */
export interface StoredWeights extends Weights, Disposable {
  readRangeF32(name: string, start: number, into: Float32Array): void;
}

/** f32 numbers that are read at a time. */
export const WEIGHT_BLOCK = 1 << 20;

/** Weights that are made a tensor at a time; the last one is kept. */
export function madeWeights(make: (name: string) => Float32Array): Weights & {
  readRangeF32(name: string, start: number, into: Float32Array): void;
} {
  let last: { readonly name: string; readonly values: Float32Array } | undefined;
  return {
    readRangeF32: (name, start, into) => {
      if (last?.name !== name) last = { name, values: make(name) };
      into.set(last.values.subarray(start, start + into.length));
    },
  };
}

/** The weights of a model on a device. */
export const heldWeights = (device: Device, store: Store): Weights => ({
  readRangeF32: (name, start, into) =>
    device.read(store.at(name).slice(4 * start, 4 * into.length), into),
});

/**
 * Fills a store, or those of its tensors that `only` names.
 * @param nameOf the name that a tensor has where it comes from
 */
export async function fillStore(
  device: Device,
  store: Store,
  from: Weights,
  nameOf: (name: string) => string = (name) => name,
  only: (name: string) => boolean = () => true,
): Promise<void> {
  const block = new Float32Array(Math.min(WEIGHT_BLOCK, store.layout.size));
  for (const { name, size } of store.layout.tensors.filter(({ name }) => only(name))) {
    const memory = store.at(name);
    for (let at = 0; at < size; at += WEIGHT_BLOCK) {
      const part = block.subarray(0, Math.min(WEIGHT_BLOCK, size - at));
      await from.readRangeF32(nameOf(name), at, part);
      device.write(memory.slice(4 * at, 4 * part.length), part);
    }
  }
}

/** A tensor block by block, for a writer; a block is good until the next one is asked for. */
export function* weightBlocks(
  from: StoredWeights,
  name: string,
  size: number,
): Generator<Float32Array> {
  const block = new Float32Array(Math.min(WEIGHT_BLOCK, size));
  for (let at = 0; at < size; at += WEIGHT_BLOCK) {
    const part = block.subarray(0, Math.min(WEIGHT_BLOCK, size - at));
    from.readRangeF32(name, at, part);
    yield part;
  }
}
