/** What every thread of the CPU device does: hold kernels and programs, and play them. */

import { type Blas, type GemmCall, openBlas } from "./blas.ts";
import { barrier } from "./control.ts";
import { memoryBase, type NativeCalls, openCalls } from "./native.ts";

/** A kernel as it is sent to the threads. */
export interface KernelText {
  readonly id: number;
  /** Where its WebAssembly module is in device memory, or its machine code in the process. */
  readonly address: number;
  /** Of the module. */
  readonly bytes: number;
}

/** One launch as it is sent to the threads. */
export interface LaunchText {
  /** A kernel's number, or a matrix product for the BLAS. */
  readonly kernel: number | GemmCall;
  readonly operands: readonly number[];
  readonly items: number;
  /** Items that a thread takes at a time. */
  readonly grain: number;
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
export interface PlayerOptions {
  readonly memory: WebAssembly.Memory;
  readonly words: Int32Array;
  readonly thread: number;
  readonly threads: number;
  /** Path of a BLAS, if one is used. */
  readonly blas?: string;
  /** Whether kernels are machine code. */
  readonly native: boolean;
}

interface Launch {
  readonly run: (begin: number, end: number) => void;
  readonly items: number;
  readonly grain: number;
  readonly waits: boolean;
}

type KernelFunction = (...args: number[]) => void;

/** A thread's kernels and programs. */
export interface Player {
  /** The address of this thread's scratch memory for all kernels. */
  setScratch(address: number): void;
  loadKernels(kernels: readonly KernelText[]): void;
  loadProgram(program: ProgramText): void;
  dropProgram(id: number): void;
  /** Plays a program; with times given, waits before every launch and adds its seconds. */
  play(program: number, seconds?: Float64Array): void;
  /** Plays a program on this thread alone. */
  playAlone(program: number): void;
  close(): void;
}

/** Makes a player for one thread. */
export function createPlayer(options: PlayerOptions): Player {
  const { memory, words, threads } = options;
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

  const launchOf = ({ kernel, operands, items, grain, waits }: LaunchText): Launch => {
    if (typeof kernel !== "number") {
      const run = (begin: number, end: number) => blas!.gemm(kernel, operands, begin, end);
      return { run, items, grain, waits };
    }
    if (native !== undefined) {
      const run = native.bind(natives.get(kernel)!, [...operands, scratch]);
      return { run, items, grain, waits };
    }
    const call = kernels.get(kernel)!;
    const args = [...operands, scratch, 0, 0];
    const run = (begin: number, end: number) => {
      args[args.length - 2] = begin;
      args[args.length - 1] = end;
      call.apply(null, args);
    };
    return { run, items, grain, waits };
  };

  return {
    setScratch: (address) => {
      scratch = address;
    },
    loadKernels: (list) => {
      for (const { id, address, bytes } of list) {
        if (native !== undefined) {
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
        const { run, items, grain, waits } = launches[i];
        if ((waits || seconds !== undefined) && threads > 1) barrier(words, threads, ++barriers);
        const start = seconds === undefined ? 0 : performance.now();
        for (
          let begin = Atomics.add(counters, i, grain);
          begin < items;
          begin = Atomics.add(counters, i, grain)
        ) {
          run(begin, Math.min(begin + grain, items));
        }
        if (seconds !== undefined) {
          if (threads > 1) barrier(words, threads, ++barriers);
          seconds[i] += (performance.now() - start) / 1000;
        }
      }
    },
    playAlone: (id) => {
      for (const { run, items } of programs.get(id)!.launches) run(0, items);
    },
    close: () => {
      blas?.close();
      native?.close();
    },
  };
}
