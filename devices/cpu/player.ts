/** What every thread of the CPU device does: hold kernels and programs, and play them. */

import { EXPANDED_ROWS } from "../../kernels/weight_rows.ts";
import { type Blas, type ExpandedGemm, type GemmCall, openBlas } from "./blas.ts";
import { barrier } from "./control.ts";
import type { SharedMemory } from "./memory.ts";
import { memoryBase, type NativeCalls, openCalls } from "./native.ts";

/** A kernel as it is sent to the threads. */
export interface KernelText {
  readonly id: number;
  /** Where its WebAssembly module is in device memory, or its machine code in the process. */
  readonly address: number;
  /** Of the module; 0 for machine code. */
  readonly bytes: number;
}

/** One launch as it is sent to the threads. */
export interface LaunchText {
  /** A kernel's number, or a matrix product for the BLAS. */
  readonly kernel: number | GemmCall | ExpandedGemm;
  readonly operands: readonly number[];
  readonly items: number;
  /** Items that a thread takes at a time. */
  readonly grain: number;
  /** Whether the first thread does all of it. */
  readonly alone: boolean;
  /** Whether everything before must be finished first. */
  readonly waits: boolean;
}

/** A program as it is sent to the threads. */
export interface ProgramText {
  readonly id: number;
  /** Address of one word a launch, from which threads take their items. */
  readonly counters: number;
  readonly launches: readonly LaunchText[];
}

/** What a thread needs to know of its device. */
export interface PlayerOptions extends SharedMemory {
  readonly words: Int32Array;
  readonly thread: number;
  readonly threads: number;
  /** Path of a BLAS, if one is used. */
  readonly blas?: string;
  /** Whether kernels can be machine code. */
  readonly native: boolean;
}

interface Launch {
  readonly run: (begin: number, end: number) => void;
  readonly items: number;
  readonly grain: number;
  readonly alone: boolean;
  readonly waits: boolean;
}

type KernelFunction = (...args: (number | bigint)[]) => void;

/** A thread's kernels and programs. */
export interface Player {
  /** The address of this thread's scratch memory for all kernels. */
  setScratch(address: number): void;
  loadKernels(kernels: readonly KernelText[]): void;
  loadProgram(program: ProgramText): void;
  dropProgram(id: number): void;
  /** Plays a program; with times given, waits before every launch and adds its seconds. */
  play(program: number, seconds?: Float64Array): void;
  /** Plays a program on this thread alone; adds the seconds of its launches where asked to. */
  playAlone(program: number, seconds?: Float64Array): void;
  close(): void;
}

/** Makes a player for one thread. */
export function createPlayer(options: PlayerOptions): Player {
  const { memory, addresses, words, thread, threads } = options;
  const kernels = new Map<number, KernelFunction>();
  const native: NativeCalls | undefined = options.native
    ? openCalls(memoryBase(memory))
    : undefined;
  const natives = new Map<number, number>();
  const programs = new Map<number, { counters: Int32Array; launches: Launch[] }>();
  const blas: Blas | undefined = options.blas === undefined
    ? undefined
    : openBlas(options.blas, memory);
  let scratch = 0;

  /** Addresses as kernels take them. */
  const pointers = (list: readonly number[]) => addresses === "i64" ? list.map(BigInt) : list;

  /** A kernel with all its arguments but the range of items. */
  const boundKernel = (id: number, operands: readonly number[]): Launch["run"] => {
    const code = natives.get(id);
    if (code !== undefined) return native!.bind(code, operands);
    const call = kernels.get(id)!;
    const args = [...pointers(operands), 0, 0];
    return (begin, end) => {
      args[args.length - 2] = begin;
      args[args.length - 1] = end;
      call.apply(null, args);
    };
  };

  /** Items are columns of the result: their weights become f32 in this thread's scratch first. */
  const expandedProduct = (call: ExpandedGemm, [a, b, c]: readonly number[]) => {
    const expand = boundKernel(call.expansion, [b, scratch, 0]);
    const part = (item: number) => {
      const first = item * call.columns;
      const n = Math.min(call.columns, call.n - first);
      const begin = first / EXPANDED_ROWS;
      expand(begin, begin + Math.ceil(n / EXPANDED_ROWS));
      blas!.gemm({ ...call, n, ldb: call.k }, [a, scratch, c + 4 * first], 0, 1);
    };
    return (begin: number, end: number) => {
      for (let item = begin; item < end; item++) part(item);
    };
  };

  const launchOf = ({ kernel, operands, ...rest }: LaunchText): Launch => {
    if (typeof kernel !== "number" && "expansion" in kernel) {
      return { run: expandedProduct(kernel, operands), ...rest };
    }
    if (typeof kernel !== "number") {
      const run = (begin: number, end: number) => blas!.gemm(kernel, operands, begin, end);
      return { run, ...rest };
    }
    return { run: boundKernel(kernel, [...operands, scratch]), ...rest };
  };

  /** Takes items of a launch as long as there are any. */
  const share = (
    launch: number,
    { run, items, grain }: Launch,
    counters: Int32Array,
  ) => {
    for (
      let begin = Atomics.add(counters, launch, grain);
      begin < items;
      begin = Atomics.add(counters, launch, grain)
    ) {
      run(begin, Math.min(begin + grain, items));
    }
  };

  return {
    setScratch: (address) => {
      scratch = address;
    },
    loadKernels: (list) => {
      for (const { id, address, bytes } of list) {
        if (bytes === 0) {
          natives.set(id, address);
          continue;
        }
        // A copy: modules cannot be compiled from shared memory.
        const code = new Uint8Array(memory.buffer, address, bytes).slice();
        const instance = new WebAssembly.Instance(new WebAssembly.Module(code), {
          env: { memory },
        });
        kernels.set(id, instance.exports.run as KernelFunction);
      }
    },
    loadProgram: ({ id, counters, launches }) => {
      programs.set(id, {
        counters: new Int32Array(memory.buffer, counters, launches.length),
        launches: launches.map(launchOf),
      });
    },
    dropProgram: (id) => void programs.delete(id),
    play: (id, seconds) => {
      const { counters, launches } = programs.get(id)!;
      let barriers = 0;
      for (let i = 0; i < launches.length; i++) {
        const { run, items, alone, waits } = launches[i];
        if ((waits || seconds !== undefined) && threads > 1) barrier(words, threads, ++barriers);
        const start = seconds === undefined ? 0 : performance.now();
        if (!alone) share(i, launches[i], counters);
        else if (thread === 0) run(0, items);
        if (seconds !== undefined) {
          if (threads > 1) barrier(words, threads, ++barriers);
          seconds[i] += (performance.now() - start) / 1000;
        }
      }
    },
    playAlone: (id, seconds) => {
      const { launches } = programs.get(id)!;
      for (let i = 0; i < launches.length; i++) {
        const { run, items } = launches[i];
        const start = seconds === undefined ? 0 : performance.now();
        run(0, items);
        if (seconds !== undefined) seconds[i] += (performance.now() - start) / 1000;
      }
    },
    close: () => {
      blas?.close();
      native?.close();
    },
  };
}
