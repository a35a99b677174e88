/** Named tensors side by side in one piece of device memory. */

import type { Device, Memory } from "./device.ts";
import * as g from "../graph/build.ts";
import { type Shape, size, type Tensor } from "../graph/tensor.ts";

/** A tensor's name and shape. */
export interface NamedShape {
  readonly name: string;
  readonly shape: Shape;
}

/** Where one tensor lies, in elements. */
export interface Placed extends NamedShape {
  readonly offset: number;
  readonly size: number;
}

/** Every tensor starts at a multiple of this many elements: a cache line. */
export const STEP = 16;
/** The whole is a multiple of this many elements, so that norms can go by rows. */
export const ROW = 1024;

/** A layout of named tensors, without memory. */
export interface Layout {
  readonly tensors: readonly Placed[];
  /** Elements of the whole, padding included. */
  readonly size: number;
}

/** Places tensors one after another. */
export function layoutOf(tensors: readonly NamedShape[]): Layout {
  let offset = 0;
  const placed = tensors.map(({ name, shape }) => {
    const at = { name, shape, offset, size: size(shape) };
    offset += Math.ceil(at.size / STEP) * STEP;
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
  write(name: string, values: Float32Array): void;
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
    const { offset, size } = place(name);
    return memory.slice(4 * offset, 4 * size);
  };
  return {
    layout,
    memory,
    at,
    write: (name, values) => {
      if (values.length !== place(name).size) {
        throw new Error(`${name}: expected ${place(name).size} values, found ${values.length}`);
      }
      device.write(at(name), values);
    },
    read: async (name) => {
      const values = new Float32Array(place(name).size);
      await device.read(at(name), values);
      return values;
    },
    free: () => device.free(memory),
  };
}

/** Graph inputs for a store's tensors, under a prefix that keeps two models apart. */
export function storeInputs(layout: Layout, prefix: string): ReadonlyMap<string, Tensor> {
  return new Map(layout.tensors.map(({ name, shape }) => [name, g.input(prefix + name, shape)]));
}

/** Bindings for `storeInputs`. */
export function storeBindings(store: Store, prefix: string): Record<string, Memory> {
  return Object.fromEntries(
    store.layout.tensors.map(({ name }) => [prefix + name, store.at(name)]),
  );
}
