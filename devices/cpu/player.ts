/** What every thread of the CPU device does: hold kernels and programs, and play them. */

import { EXPANDED_ROWS } from "../../kernels/weights/rows.ts";
import { type Blas, type ExpandedGemm, openBlas } from "./blas.ts";
import { barrier } from "./control.ts";
import type { SharedMemory } from "./memory.ts";
import type { KernelText, LaunchText, ProgramText } from "./messages.ts";
import { memoryBase, type NativeCalls, openCalls } from "./native.ts";
import { createSequence, type Sequence } from "./sequence.ts";
import { nativeLaunch } from "./sequence_launch.ts";

/** What a thread needs to know of its device. */
export interface PlayerOptions extends SharedMemory {
  readonly words: Int32Array;
  readonly thread: number;
  readonly threads: number;
  /** Path of a BLAS, if one is used. */
  readonly blas?: string;
  /** Where the code is that plays sequences (sequence.ts), if kernels can be machine code. */
  readonly sequencer?: number;
}

interface Launch {
  readonly run: (begin: number, end: number) => void;
  readonly prepare?: () => void;
  readonly items: number;
  readonly grain: number;
  readonly alone: boolean;
  readonly waits: boolean;
  /** Whether it is played as a part of a sequence. */
  readonly native: boolean;
}

/** The first launch from each on that is not machine code; their count where there is none. */
function sequenceEnds(launches: readonly Launch[]): readonly number[] {
  let end = launches.length;
  const ends = launches.map((_, back) => {
    const i = launches.length - 1 - back;
    if (!launches[i].native) end = i;
    return end;
  });
  return ends.toReversed();
}

interface LoadedProgram {
  readonly counters: Int32Array;
  readonly launches: readonly Launch[];
  /** By launch (sequenceEnds). */
  readonly ends: readonly number[];
  /** Its machine code: shared with the other threads, and by this thread alone. */
  readonly shared?: Sequence;
  readonly own?: Sequence;
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
  const { memory, addresses, words, thread, threads, sequencer } = options;
  const kernels = new Map<number, KernelFunction>();
  const base = sequencer === undefined ? undefined : memoryBase(memory);
  const native: NativeCalls | undefined = base === undefined ? undefined : openCalls(base);
  const natives = new Map<number, number>();
  const programs = new Map<number, LoadedProgram>();
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

  const launchOf = (
    { kernel, operands, prepare, items, grain, alone, waits }: LaunchText,
  ): Launch => {
    const rest = { items, grain, alone, waits, native: false };
    if (typeof kernel !== "number" && "expansion" in kernel) {
      return { run: expandedProduct(kernel, operands), ...rest };
    }
    if (typeof kernel !== "number") {
      const run = (begin: number, end: number) => blas!.gemm(kernel, operands, begin, end);
      return { run, ...rest };
    }
    if (natives.has(kernel)) return { run: () => {}, ...rest, native: true };
    const all = [...operands, scratch];
    const before = prepare && boundKernel(prepare.kernel, all);
    return {
      run: boundKernel(kernel, all),
      ...(before === undefined ? {} : { prepare: () => before(0, 0) }),
      ...rest,
    };
  };

  /** Takes items of a launch as long as there are any. */
  const share = (
    launch: number,
    { run, prepare, items, grain }: Launch,
    counters: Int32Array,
  ) => {
    let isReady = prepare === undefined;
    for (
      let begin = Atomics.add(counters, launch, grain);
      begin < items;
      begin = Atomics.add(counters, launch, grain)
    ) {
      if (!isReady) prepare!();
      isReady = true;
      run(begin, Math.min(begin + grain, items));
    }
  };

  const playHere = (i: number, { counters, launches }: LoadedProgram) => {
    const { run, prepare, items, alone } = launches[i];
    if (!alone) share(i, launches[i], counters);
    else if (thread === 0) {
      prepare?.();
      run(0, items);
    }
  };

  /** Plays launches one by one, with a barrier before and after each. */
  const playTimed = (program: LoadedProgram, seconds: Float64Array) => {
    const { launches, shared } = program;
    let barriers = 0;
    const meet = () => {
      if (threads > 1) barrier(words, threads, ++barriers);
    };
    launches.forEach((launch, i) => {
      meet();
      const start = performance.now();
      if (launch.native) shared!.playOne(i);
      else playHere(i, program);
      meet();
      seconds[i] += (performance.now() - start) / 1000;
    });
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
    loadProgram: ({ id, counters, launches: texts }) => {
      const launches = texts.map(launchOf);
      const sequence = (sharing: number, own: number) =>
        createSequence(
          native!,
          sequencer!,
          texts.map((text, i) =>
            nativeLaunch(text, {
              ...{ codes: natives, base: base!, scratch, thread: own, threads: sharing },
              counter: counters + 4 * i,
            })
          ),
          { words, threads: sharing },
        );
      const isNative = launches.some((launch) => launch.native);
      programs.set(id, {
        counters: new Int32Array(memory.buffer, counters, launches.length),
        launches,
        ends: sequenceEnds(launches),
        ...(isNative && { shared: sequence(threads, thread) }),
        ...(isNative && thread === 0 && { own: sequence(1, 0) }),
      });
    },
    dropProgram: (id) => void programs.delete(id),
    play: (id, seconds) => {
      const program = programs.get(id)!;
      if (seconds !== undefined) return playTimed(program, seconds);
      const { launches, ends, shared } = program;
      let barriers = 0;
      for (let i = 0; i < launches.length;) {
        if (launches[i].native) {
          barriers = shared!.play(i, ends[i], barriers);
          i = ends[i];
          continue;
        }
        if (launches[i].waits && threads > 1) barrier(words, threads, ++barriers);
        playHere(i++, program);
      }
    },
    playAlone: (id, seconds) => {
      const { launches, ends, own } = programs.get(id)!;
      const { length } = launches;
      if (seconds === undefined && ends[0] === length) {
        own!.play(0, length, 0);
        return;
      }
      for (let i = 0; i < length; i++) {
        const { run, prepare, items, native } = launches[i];
        const start = performance.now();
        if (native) own!.playOne(i);
        else {
          prepare?.();
          run(0, items);
        }
        if (seconds !== undefined) seconds[i] += (performance.now() - start) / 1000;
      }
    },
    close: () => {
      blas?.close();
      native?.close();
    },
  };
}
