/** The CPU device: kernels as machine code or WebAssembly on shared memory, one thread a core. */

import { ofFewRows } from "../../graph/schedule.ts";
import type { Kernel } from "../../kernels/kernel.ts";
import { MOST_ROWS } from "../../kernels/matvec/matvec.ts";
import { cpuKernel, oneKernel, type Program } from "../../kernels/program.ts";
import { kernelText } from "../../kernels/render/text.ts";
import { renderWasm, wasmCode, wasmFeatures } from "../../kernels/render/wasm.ts";
import { renderX64, X64_LANES, X64_NAMES, type X64Level } from "../../kernels/render/x64.ts";
import { type CompileOptions, compileWith } from "../compile.ts";
import {
  type Bindings,
  checkCopy,
  type Device,
  type Executable,
  type HostArray,
  type Memory,
} from "../device.ts";
import { profileRows } from "../profile.ts";
import { checkReach } from "../reach.ts";
import { createArena } from "./arena.ts";
import { createHeap } from "./heap.ts";
import { findBlas } from "./blas.ts";
import { chooseCore, coreOf } from "./blas_core.ts";
import {
  COMMANDS,
  type CommandSubject,
  issue,
  OtherThreadFailed,
  waitForWorkers,
  WORDS,
} from "./control.ts";
import { isGemm, linkLaunches } from "./link.ts";
import { type CpuMemory, createMemory, piece, reach } from "./memory.ts";
import type { KernelText } from "./messages.ts";
import { chooseNative, loadCode, type NativeCode, useLargePages } from "./native.ts";
import { sequenceCode } from "./sequence.ts";
import { createPlayer, type PlayerOptions } from "./player.ts";
import { wasmLanes } from "./v8_flags.ts";

/** Operations below which waking other threads and waiting for them takes longer than the work. */
const ALONE_FLOPS = 4e6;
/** Bytes of a tensor at most: kernels count them from its start in 32 bits, signed. */
const TENSOR_LIMIT = 2 ** 31;

/** How the device is set up. */
export interface CpuOptions extends CompileOptions {
  /** Threads, the main one included; one a core by default. */
  readonly threads?: number;
  /** `auto` uses a BLAS where one is found, `none` never, a path that library. */
  readonly blas?: "auto" | "none" | string;
  /**
   * Bytes that it may have to hold, 4 GiB by default. For more, kernels address memory with 64
   * bits, and reach 16 GiB.
   */
  readonly memory?: number;
  /** `auto` makes machine code of kernels where that works, `none` WebAssembly; or for a level. */
  readonly native?: "auto" | "none" | X64Level;
}

/** The CPU device, which also takes programs that were built elsewhere. */
export interface CpuDevice extends Device {
  /** Prepares a program, `compile` without its graph. */
  bind(program: Program, bindings: Bindings): Executable;
}

async function startWorker(start: PlayerOptions): Promise<Worker> {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  await new Promise<void>((resolve, reject) => {
    worker.onmessage = () => resolve();
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Error(`cpu: a worker did not start: ${event.message}`));
    };
    worker.postMessage(start);
  });
  return worker;
}

/** Opens the CPU device. */
export async function openCpu(options: CpuOptions = {}): Promise<CpuDevice> {
  const threads = Math.max(1, options.threads ?? navigator.hardwareConcurrency);
  const wanted = options.blas ?? "auto";
  const blas = wanted === "none" ? undefined : wanted === "auto" ? findBlas() : wanted;
  if (blas !== undefined) chooseCore(blas);
  const native = chooseNative(options.native ?? "auto");
  const tiles = native === "amx";
  const wide = native !== undefined && X64_LANES[native] === 16;
  const [features, lanes] = [wasmFeatures(), wasmLanes()];
  const dots = native === "vnni" || native === "amx";
  const addresses = (options.memory ?? 0) > reach("i32") ? "i64" : "i32";
  const shared = createMemory(addresses);
  const { memory } = shared;
  if (native !== undefined) useLargePages(memory, reach(addresses));
  const heap = createHeap(shared);
  const words = new Int32Array(new SharedArrayBuffer(4 * WORDS.count));
  const codes: NativeCode[] = native === undefined ? [] : [loadCode([sequenceCode()])];
  const base = { ...shared, words, threads, blas, sequencer: codes[0]?.addresses[0] };
  const player = createPlayer({ ...base, thread: 0 });
  const workers = await Promise.all(
    Array.from({ length: threads - 1 }, (_, i) => startWorker({ ...base, thread: i + 1 })),
  );

  const failed = () => Atomics.load(words, WORDS.failed) !== 0;
  const checkAlive = () => {
    if (failed()) throw new Error("cpu: a thread failed before: nothing more runs on this device");
  };
  /** Issues a command; the main thread does its own part meanwhile. */
  const command = (code: number, subject: CommandSubject, own: () => void) => {
    checkAlive();
    try {
      issue(words, code, subject);
      own();
      waitForWorkers(words, workers.length);
    } catch (error) {
      Atomics.store(words, WORDS.failed, 1);
      if (!(error instanceof OtherThreadFailed)) throw error;
    }
    if (failed()) throw new Error("cpu: a worker thread failed; its message is above");
  };
  /** A command with a text. */
  const tell = (code: number, body: unknown, own: () => void) => {
    const text = new TextEncoder().encode(JSON.stringify(body));
    const address = heap.allocate(text.length);
    new Uint8Array(memory.buffer, address, text.length).set(text);
    try {
      command(code, { address, bytes: text.length }, own);
    } finally {
      heap.free(address);
    }
  };

  const kernels = new Map<string, number>();
  const loadKernels = (list: readonly Pick<Kernel, "key" | "code">[]) => {
    const unknown = list.filter(({ key }) => !kernels.has(key));
    const added = [...new Map(unknown.map((kernel) => [kernel.key, kernel])).values()];
    if (added.length === 0) return;
    const load = (texts: readonly KernelText[]) =>
      tell(COMMANDS.loadKernels, texts, () => player.loadKernels(texts));
    const first = kernels.size;
    if (native !== undefined) {
      const loaded = loadCode(
        added.map(({ code }) => renderX64(code(X64_LANES[native]), native).code),
      );
      codes.push(loaded);
      load(loaded.addresses.map((address, i) => ({ id: first + i, address, bytes: 0 })));
    } else {
      const texts: KernelText[] = [];
      try {
        for (const { code } of added) {
          const module = renderWasm(wasmCode(code, lanes), features, addresses);
          const address = heap.allocate(module.length);
          new Uint8Array(memory.buffer, address, module.length).set(module);
          texts.push({ id: first + texts.length, address, bytes: module.length });
        }
        load(texts);
      } finally {
        texts.forEach(({ address }) => heap.free(address));
      }
    }
    // One that could not be loaded is not known.
    added.forEach(({ key }) => kernels.set(key, kernels.size));
  };

  const arena = createArena(heap, threads);
  let programs = 0;
  let live = 0;
  const bind = (program: Program, bindings: Bindings): Executable => {
    const id = programs++;
    const { launches } = program;
    let linked = -1;
    const link = () => {
      const { address, scratch, layout } = arena;
      if (linked === layout) return;
      const texts = linkLaunches(program, bindings, {
        arena: address,
        kernel: (key) => kernels.get(key)!,
        threads,
        blas: blas !== undefined,
      });
      const text = { id, counters, launches: texts, scratch };
      tell(COMMANDS.loadProgram, text, () => {
        player.setScratch(scratch[0]);
        player.loadProgram(text);
      });
      linked = layout;
    };
    const start = (code: number, seconds?: Float64Array) => {
      link();
      new Int32Array(memory.buffer, counters, launches.length).fill(0);
      const subject = { program: id, launches: launches.length };
      command(code, subject, () => player.play(id, seconds));
    };
    const own = launches.filter((launch) => blas === undefined || !isGemm(launch, threads));
    own.forEach((launch) => checkReach("cpu", launch, TENSOR_LIMIT));
    loadKernels([
      ...own.flatMap(({ kernel }) =>
        kernel.prepare === undefined ? kernel : [kernel, kernel.prepare]
      ),
      ...launches.flatMap(({ kernel: { expansion } }) => expansion ?? []),
    ]);
    const scratchBytes = Math.max(0, ...launches.map(({ kernel }) => kernel.scratchBytes));
    arena.reserve(program.arenaBytes, scratchBytes);
    const counters = heap.allocate(4 * Math.max(1, launches.length));
    live++;
    const flops = launches.reduce((n, { kernel }) => n + kernel.flops, 0);
    const run = (seconds?: Float64Array) => {
      if (flops >= ALONE_FLOPS) {
        return start(seconds === undefined ? COMMANDS.run : COMMANDS.profile, seconds);
      }
      checkAlive();
      link();
      try {
        player.playAlone(id, seconds);
      } catch (error) {
        Atomics.store(words, WORDS.failed, 1);
        throw error;
      }
    };
    return {
      flops,
      arenaBytes: program.arenaBytes,
      run: () => run(),
      profile: () => {
        const seconds = new Float64Array(launches.length);
        run(seconds);
        return Promise.resolve(profileRows(program, seconds));
      },
      free: () => {
        // After a failure it would hide the error that is on its way.
        if (!failed()) tell(COMMANDS.dropProgram, { id }, () => player.dropProgram(id));
        heap.free(counters);
        // The next programs may need less: a large arena does not stay.
        if (--live === 0) arena.release();
      },
    };
  };

  const bytesOf = (at: Memory, length = at.bytes) =>
    new Uint8Array(memory.buffer, (at as CpuMemory).address, length);
  const hostBytes = (data: HostArray) =>
    new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const counted = threads === 1 ? "1 thread" : `${threads} threads`;
  const core = blas === undefined ? undefined : coreOf(blas);
  const library = blas === undefined
    ? ""
    : `, BLAS ${blas}${core === undefined ? "" : ` (${core})`}`;
  const kind = native === undefined
    ? `${features.relaxedSimd ? "relaxed " : ""}WebAssembly SIMD${lanes === 4 ? "" : ", 8 lanes"}`
    : `${X64_NAMES[native]} kernels`;
  return {
    kind: "cpu",
    description: `cpu: ${counted}, ${kind}${library}`,
    allocate: (bytes) => piece(heap.allocate(bytes), bytes),
    free: (at) => heap.free((at as CpuMemory).address),
    memoryUse: heap.use,
    write: (at, data) => {
      checkCopy(data, at, "into");
      bytesOf(at, data.byteLength).set(hostBytes(data));
    },
    read: (at, into) => {
      checkCopy(into, at, "from");
      hostBytes(into).set(bytesOf(at, into.byteLength));
      return Promise.resolve();
    },
    clear: (at) => void bytesOf(at).fill(0),
    compile: compileWith<Kernel>({
      bind,
      scheduling: {
        // A library does no more than the product; those of a few rows are not its own.
        epilogues: blas === undefined || wide ? true : ofFewRows(MOST_ROWS),
        ...{ folds: true, accumulates: true },
      },
      kernelsOf: (step) => oneKernel(step, cpuKernel(step, { threads, tiles, wide, dots })),
      code: ({ kernel }) => kernelText(kernel.code(4)),
    }, options),
    bind,
    close: () => {
      if (workers.length > 0) {
        issue(words, COMMANDS.exit, { address: 0, bytes: 0 });
        // After a failure nobody knows which of them still listen.
        if (!failed()) waitForWorkers(words, workers.length);
      }
      player.close();
      workers.forEach((worker) => worker.terminate());
      // A thread that failed may still be in them.
      if (!failed()) codes.forEach((code) => code.free());
      return Promise.resolve();
    },
  };
}
