/** Runs kernels as WebAssembly in this thread. */

import type { Kernel } from "../../kernels/kernel.ts";
import { renderWasm, wasmFeatures } from "../../kernels/render/wasm.ts";

const features = wasmFeatures();
const PAGE = 65536;

/** Memory that kernels work on, with operands laid out one after another. */
export interface Arena {
  readonly memory: WebAssembly.Memory;
  /** Copies numbers in; returns their address. */
  place(values: ArrayLike<number>, type?: "f32" | "i32"): number;
  /** Room for so many f32, filled with NaN. */
  room(elements: number): number;
  read(address: number, elements: number): Float32Array;
}

/**
 * Memory for a test. Operands start at odd multiples of 4 bytes, since kernels may not expect more
 * alignment than that, with NaN around them.
 */
export function arena(bytes: number): Arena {
  const pages = Math.ceil(bytes / PAGE) + 1;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: 65536, shared: true });
  const floats = new Float32Array(memory.buffer).fill(NaN);
  let next = 1;
  const take = (elements: number): number => {
    const at = next;
    next += elements + 17 + (elements % 2);
    if (next > floats.length) throw new Error("test arena: too small");
    return at;
  };
  return {
    memory,
    place(values, type = "f32") {
      const at = take(values.length);
      if (type === "f32") floats.set(values, at);
      else new Int32Array(memory.buffer).set(values, at);
      return at * 4;
    },
    room: (elements) => take(elements) * 4,
    read: (address, elements) => floats.slice(address / 4, address / 4 + elements),
  };
}

/** A kernel ready to run over a range of its items. */
export type Runner = (operands: readonly number[], begin?: number, end?: number) => void;

/** Compiles a kernel for an arena. */
export function compile(kernel: Kernel, { memory, room }: Arena): Runner {
  const module = new WebAssembly.Module(renderWasm(kernel.code(), features, "i32"));
  const { run } = new WebAssembly.Instance(module, { env: { memory } }).exports;
  const scratch = room(kernel.scratchBytes / 4 + 4);
  return (operands, begin = 0, end = kernel.items) => {
    (run as (...args: number[]) => void)(...operands, scratch, begin, end);
  };
}
