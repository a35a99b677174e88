/** Runs kernels in this thread: as WebAssembly, and as machine code for what the machine has. */

import {
  findNative,
  loadCode,
  memoryBase,
  type NativeCode,
  openCalls,
} from "../../devices/cpu/native.ts";
import type { Kernel } from "../../kernels/kernel.ts";
import type { Lanes } from "../../kernels/language/syntax.ts";
import { renderWasm, wasmFeatures } from "../../kernels/render/wasm.ts";
import { levelsOf, renderX64, X64_LANES, type X64Level } from "../../kernels/render/x64.ts";

const features = wasmFeatures();

/** What kernels are rendered for: WebAssembly with vectors of four lanes, of eight; machine code. */
export type Target = "wasm" | "wasm8" | X64Level;

const found = findNative();
/** What this machine can run; every test of kernels has one test for each. */
export const TARGETS: readonly Target[] = [
  ...["wasm", "wasm8"] as const,
  ...(found === undefined ? [] : levelsOf(found)),
];

let target: Target = "wasm";
const codes: NativeCode[] = [];

/** A test for every target, or for some; `compile` compiles for the one whose test runs. */
export function kernelTest(
  name: string,
  run: () => void | Promise<void>,
  targets: readonly Target[] = TARGETS,
): void {
  for (const each of targets) {
    Deno.test(`${each}: ${name}`, async () => {
      target = each;
      try {
        await run();
      } finally {
        codes.splice(0).forEach((code) => code.free());
      }
    });
  }
}
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

/** Lanes of the widest vectors of the target that is tested. */
export const targetLanes = (): Lanes =>
  target === "wasm" ? 4 : target === "wasm8" ? 8 : X64_LANES[target];

/** The instruction set that is tested; undefined for WebAssembly. */
export const targetLevel = (): X64Level | undefined =>
  target === "wasm" || target === "wasm8" ? undefined : target;

/** Compiles a kernel for an arena, and for the target that is tested. */
export function compile(kernel: Kernel, { memory, room }: Arena): Runner {
  const scratch = room(kernel.scratchBytes / 4 + 4);
  const parts = [...(kernel.prepare === undefined ? [] : [kernel.prepare]), kernel];
  if (target !== "wasm" && target !== "wasm8") {
    const level = target;
    const code = loadCode(parts.map(({ code }) => renderX64(code(targetLanes()), level).code));
    codes.push(code);
    return (operands, begin = 0, end = kernel.items) => {
      const calls = openCalls(memoryBase(memory));
      const run = (at: number) => calls.bind(at, [...operands, scratch])(begin, end);
      code.addresses.forEach(run);
      calls.close();
    };
  }
  const runs = parts.map(({ code }) => {
    const module = new WebAssembly.Module(renderWasm(code(targetLanes()), features, "i32"));
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    return exports.run as (...args: number[]) => void;
  });
  return (operands, begin = 0, end = kernel.items) => {
    runs.forEach((run) => run(...operands, scratch, begin, end));
  };
}
