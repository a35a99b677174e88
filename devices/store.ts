/** Named tensors side by side in one piece of device memory. */

import type { Device, Memory } from "./device.ts";
import * as g from "../graph/build.ts";
import { type Shape, size, type Tensor, tensorBytes, type WeightDType } from "../graph/tensor.ts";
import { decodeWeights, encodeWeights } from "../kernels/weights/weights.ts";

/** A tensor's name and shape, and how it is stored: f32 where nothing is said. */
export interface NamedShape {
  readonly name: string;
  readonly shape: Shape;
  readonly dtype?: WeightDType;
}

/** Where one tensor lies. */
export interface Placed extends NamedShape {
  /** In words of four bytes: in elements, where all are f32. */
  readonly offset: number;
  /** Elements. */
  readonly size: number;
}

/** Every tensor starts at a multiple of this many words: a cache line. */
export const STEP = 16;
/** The whole is a multiple of this many words, so that norms can go by rows. */
export const ROW = 1024;

/** A layout of named tensors, without memory. */
export interface Layout {
  readonly tensors: readonly Placed[];
  /** Words of the whole, padding included. */
  readonly size: number;
}

/** Bytes of a tensor. */
const placedBytes = ({ shape, dtype }: NamedShape) => tensorBytes(shape, dtype ?? "f32");

/** Places tensors one after another. */
export function layoutOf(tensors: readonly NamedShape[]): Layout {
  let offset = 0;
  const placed = tensors.map((tensor): Placed => {
    const { name, shape, dtype } = tensor;
    const stored = dtype === undefined ? {} : { dtype };
    const at = { name, shape, ...stored, offset, size: size(shape) };
    offset += Math.ceil(placedBytes(tensor) / 4 / STEP) * STEP;
    return at;
  });
  return { tensors: placed, size: Math.max(ROW, Math.ceil(offset / ROW) * ROW) };
}

/** Device memory laid out for named tensors. */
export interface Store {
  readonly layout: Layout;
  readonly memory: Memory;
  /** The memory of one tensor. */
  at(name: string): Memory;
  /**
   * Writes a tensor, as the layout has it stored.
   * @throws RangeError for a value that its type does not hold.
   */
  write(name: string, values: Float32Array): void;
  /** The numbers of a tensor, as they are stored. */
  read(name: string): Promise<Float32Array>;
  free(): void;
}

/** Allocates a store, all zeros. */
export function createStore(device: Device, layout: Layout): Store {
  const memory = device.allocate(4 * layout.size);
  device.clear(memory);
  const places = new Map(layout.tensors.map((t) => [t.name, t]));
  const place = (name: string): Placed => {
    const found = places.get(name);
    if (found === undefined) throw new Error(`parameters: there is no ${name}`);
    return found;
  };
  const at = (name: string) => {
    const placed = place(name);
    return memory.slice(4 * placed.offset, placedBytes(placed));
  };
  return {
    layout,
    memory,
    at,
    write: (name, values) => {
      if (values.length !== place(name).size) {
        throw new Error(`${name}: expected ${place(name).size} values, found ${values.length}`);
      }
      const { shape, dtype } = place(name);
      device.write(at(name), dtype === undefined ? values : encodeWeights(dtype, values, shape));
    },
    read: async (name) => {
      const { shape, size, dtype } = place(name);
      if (dtype !== undefined) {
        const bytes = new Uint8Array(tensorBytes(shape, dtype));
        await device.read(at(name), bytes);
        return decodeWeights(dtype, bytes, shape);
      }
      const values = new Float32Array(size);
      await device.read(at(name), values);
      return values;
    },
    free: () => device.free(memory),
  };
}

/** Graph inputs for a store's tensors, under a prefix that keeps two models apart. */
export function storeInputs(layout: Layout, prefix: string): ReadonlyMap<string, Tensor> {
  return new Map(
    layout.tensors.map(({ name, shape, dtype }) => [name, g.input(prefix + name, shape, dtype)]),
  );
}

/** Bindings for `storeInputs`. */
export function storeBindings(store: Store, prefix: string): Record<string, Memory> {
  return Object.fromEntries(
    store.layout.tensors.map(({ name }) => [prefix + name, store.at(name)]),
  );
}
