/** The CPU device: kernels as WebAssembly on shared memory, one thread a core. */

import { schedule } from "../../graph/schedule.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { Kernel } from "../../kernels/kernel.ts";
import { buildProgram, cpuKernel, type Program } from "../../kernels/program.ts";
import { MAX_PAGES, renderWasm, wasmFeatures } from "../../kernels/render/wasm.ts";
import {
  type Bindings,
  checkCopy,
  type Device,
  type Executable,
  type HostArray,
  type Memory,
} from "../device.ts";
import { profileRows } from "../profile.ts";
import { createHeap } from "./heap.ts";
import { findBlas } from "./blas.ts";
import { chooseCore, coreOf } from "./blas_core.ts";
import { COMMANDS, issue, OtherThreadFailed, waitForWorkers, WORDS } from "./control.ts";
import { linkLaunches } from "./link.ts";
import { type CpuMemory, piece } from "./memory.ts";
import { createPlayer, type KernelText, type PlayerOptions } from "./player.ts";

/** Operations below which waking other threads and waiting for them takes longer than the work. */
const ALONE_FLOPS = 4e6;

/** How the device is set up. */
export interface CpuOptions {
  /** Threads, the main one included; one a core by default. */
  readonly threads?: number;
  /** `auto` uses a BLAS where one is found, `none` never, a path that library. */
  readonly blas?: "auto" | "none" | string;
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
export async function openCpu(options: CpuOptions = {}): Promise<Device> {
  const threads = Math.max(1, options.threads ?? navigator.hardwareConcurrency);
  const wanted = options.blas ?? "auto";
  const blas = wanted === "none" ? undefined : wanted === "auto" ? findBlas() : wanted;
  if (blas !== undefined) chooseCore(blas);
  const features = wasmFeatures();
  const memory = new WebAssembly.Memory({ initial: 64, maximum: MAX_PAGES, shared: true });
  const heap = createHeap(memory);
  const words = new Int32Array(new SharedArrayBuffer(4 * WORDS.count));
  const base = { memory, words, threads, blas };
  const player = createPlayer({ ...base, thread: 0 });
  const workers = await Promise.all(
    Array.from({ length: threads - 1 }, (_, i) => startWorker({ ...base, thread: i + 1 })),
  );

  const failed = () => Atomics.load(words, WORDS.failed) !== 0;
  const checkAlive = () => {
    if (failed()) throw new Error("cpu: a thread failed before: nothing more runs on this device");
  };
  /** Sends a command and its text; the main thread does its own part meanwhile. */
  const command = (code: number, body: unknown, own: () => void) => {
    checkAlive();
    const text = new TextEncoder().encode(JSON.stringify(body));
    const address = heap.allocate(text.length);
    new Uint8Array(memory.buffer, address, text.length).set(text);
    try {
      issue(words, code, { address, bytes: text.length });
      own();
      waitForWorkers(words, workers.length);
    } catch (error) {
      Atomics.store(words, WORDS.failed, 1);
      if (!(error instanceof OtherThreadFailed)) throw error;
    } finally {
      heap.free(address);
    }
    if (failed()) throw new Error("cpu: a worker thread failed; its message is above");
  };

  const kernels = new Map<string, number>();
  const loadKernels = (list: readonly Kernel[]) => {
    const texts: KernelText[] = [];
    for (const kernel of list) {
      if (kernels.has(kernel.key)) continue;
      const code = renderWasm(kernel.code(), features);
      const address = heap.allocate(code.length);
      new Uint8Array(memory.buffer, address, code.length).set(code);
      kernels.set(kernel.key, kernels.size);
      texts.push({ id: kernels.get(kernel.key)!, address, bytes: code.length });
    }
    if (texts.length === 0) return;
    command(COMMANDS.loadKernels, texts, () => player.loadKernels(texts));
    texts.forEach(({ address }) => heap.free(address));
  };

  // Programs run one at a time, so they share one arena and every thread one scratch.
  let arena = { address: 0, bytes: 0 };
  let scratch = { addresses: new Array<number>(threads).fill(0), bytes: 0 };
  let layout = 0;
  const reserve = (arenaBytes: number, scratchBytes: number) => {
    if (arenaBytes > arena.bytes) {
      if (arena.bytes > 0) heap.free(arena.address);
      arena = { address: heap.allocate(arenaBytes), bytes: arenaBytes };
      layout++;
    }
    if (scratchBytes > scratch.bytes) {
      if (scratch.bytes > 0) scratch.addresses.forEach((address) => heap.free(address));
      const addresses = scratch.addresses.map(() => heap.allocate(scratchBytes));
      scratch = { addresses, bytes: scratchBytes };
      layout++;
    }
  };

  let programs = 0;
  const bind = (program: Program, bindings: Bindings): Executable => {
    const id = programs++;
    const { launches } = program;
    const counters = heap.allocate(4 * Math.max(1, launches.length));
    const scratchBytes = Math.max(0, ...launches.map(({ kernel }) => kernel.scratchBytes));
    let linked = -1;
    const link = () => {
      if (linked === layout) return;
      linked = layout;
      const texts = linkLaunches(program, bindings, {
        arena: arena.address,
        kernel: (key) => kernels.get(key)!,
        threads,
        blas: blas !== undefined,
      });
      const text = { id, counters, launches: texts, scratch: scratch.addresses };
      command(COMMANDS.loadProgram, text, () => {
        player.setScratch(scratch.addresses[0]);
        player.loadProgram(text);
      });
    };
    const start = (code: number, seconds?: Float64Array) => {
      link();
      new Int32Array(memory.buffer, counters, launches.length).fill(0);
      command(code, { id, launches: launches.length }, () => player.play(id, seconds));
    };
    loadKernels(launches.map(({ kernel }) => kernel));
    reserve(program.arenaBytes, scratchBytes);
    const flops = launches.reduce((n, { kernel }) => n + kernel.flops, 0);
    return {
      flops,
      arenaBytes: program.arenaBytes,
      run: () => {
        if (flops >= ALONE_FLOPS) return start(COMMANDS.run);
        checkAlive();
        link();
        try {
          player.playAlone(id);
        } catch (error) {
          Atomics.store(words, WORDS.failed, 1);
          throw error;
        }
      },
      profile: () => {
        const seconds = new Float64Array(launches.length);
        start(COMMANDS.profile, seconds);
        return Promise.resolve(profileRows(program, seconds));
      },
      free: () => {
        // After a failure it would hide the error that is on its way.
        if (!failed()) command(COMMANDS.dropProgram, { id }, () => player.dropProgram(id));
        heap.free(counters);
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
    ? "WebAssembly SIMD"
    : `WebAssembly SIMD, BLAS ${blas}${core === undefined ? "" : ` (${core})`}`;
  return {
    kind: "cpu",
    description: `cpu: ${counted}, ${features.relaxedSimd ? "relaxed " : ""}${library}`,
    allocate: (bytes) => piece(heap.allocate(bytes), bytes),
    free: (at) => heap.free((at as CpuMemory).address),
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
    compile: (results: readonly Tensor[], bindings) => {
      const plan = schedule(results, { epilogues: blas === undefined });
      return bind(buildProgram(plan, (step) => cpuKernel(step, threads)), bindings);
    },
    close: () => {
      if (workers.length > 0) {
        issue(words, COMMANDS.exit, { address: 0, bytes: 0 });
        // After a failure nobody knows which of them still listen.
        if (!failed()) waitForWorkers(words, workers.length);
      }
      player.close();
      workers.forEach((worker) => worker.terminate());
      return Promise.resolve();
    },
  };
}
