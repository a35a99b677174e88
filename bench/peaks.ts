/** What this machine reaches at best: arithmetic, products, and its memory. */

import { findBlas } from "../devices/cpu/blas.ts";
import { type CpuDevice, type CpuOptions, openCpu } from "../devices/cpu/device.ts";
import type { Memory } from "../devices/device.ts";
import * as g from "../graph/build.ts";
import type { Kernel } from "../kernels/kernel.ts";
import { kernel } from "../kernels/language/block.ts";
import { add, fma, i32, load } from "../kernels/language/language.ts";
import type { KernelCode, Lanes } from "../kernels/language/syntax.ts";
import type { OperandMemory, Program } from "../kernels/program.ts";
import { at, type V, variable, WIDEST, zeros } from "../kernels/language/vectors.ts";

/** What a machine reaches at best. */
export interface Peaks {
  /** Multiplications and additions of the kernels, in registers alone. */
  readonly fmaGflops: number;
  /** The best of some large products. */
  readonly productGflops: number;
  /**
   * The most that the machine can do: of these, with a BLAS also where the kernels are alone, and of
   * what a GPU's maker states.
   */
  readonly machineGflops: number;
  /** Bytes a second, in units of 10⁹, of reading memory far beyond the caches. */
  readonly readGBs: number;
  /** The same of copying it; what is read and what is written both count. */
  readonly copyGBs: number;
  /** What the memory can do: a CPU's plain read, or what a GPU's maker states where that is more. */
  readonly machineGBs: number;
}

/** The peaks of some threads. */
export interface CpuPeaks extends Peaks {
  readonly threads: number;
  /** What computes products. */
  readonly products: string;
}

/** How the peaks are measured. */
export interface PeakOptions {
  readonly threads: number;
  /** As the device takes them. */
  readonly blas: string;
  readonly native?: CpuOptions["native"];
  /** Bytes that are read; by default far more than caches hold. */
  readonly bytes?: number;
  /** Time of one measurement, of whose runs the fastest counts. */
  readonly seconds?: number;
}

/** Independent sums, enough to hide the latency of an addition. */
const SUMS = 12;
/** Rounds of a work item of the arithmetic with four lanes. */
const ROUNDS = 1 << 16;
/** Bytes of a work item of the memory, and of one round in it. */
const CHUNK = 1 << 16;
const VECTORS = 8;
/** Sides of the large products. */
const PRODUCTS = [[1024, 1024, 1024], [2048, 1024, 512]] as const;

function fmaCode(lanes: Lanes): KernelCode {
  return kernel(
    "peak_fma",
    { from: "ptr", to: "ptr", scratch: "ptr", begin: "i32", end: "i32" },
    (k, { from, to, begin, end }) => {
      const x = k.let(load(k.vector, from));
      const y = k.let(load(k.vector, from, k.vectorBytes));
      k.for(begin, end, 1, (item) => {
        const sums = zeros(k, SUMS);
        k.for(0, ROUNDS * 4 / lanes, 1, () => sums.forEach((sum) => k.set(sum, fma(x, y, sum))));
        k.store(total(sums), at(to, item, WIDEST));
      });
    },
    lanes,
  );
}

const total = (sums: readonly V[]): V => sums.reduce((a, b) => add(a, b));

function readCode(lanes: Lanes): KernelCode {
  return kernel(
    "peak_read",
    { from: "ptr", to: "ptr", scratch: "ptr", begin: "i32", end: "i32" },
    (k, { from, to, begin, end }) => {
      k.for(begin, end, 1, (item) => {
        const sums = zeros(k, VECTORS);
        const source = variable(k, at(from, item, CHUNK));
        k.for(0, CHUNK, VECTORS * k.vectorBytes, () => {
          sums.forEach((sum, i) => k.set(sum, add(sum, load(k.vector, source, i * k.vectorBytes))));
          k.set(source, at(source, i32(1), VECTORS * k.vectorBytes));
        });
        k.store(total(sums), at(to, item, WIDEST));
      });
    },
    lanes,
  );
}

function copyCode(lanes: Lanes): KernelCode {
  return kernel(
    "peak_copy",
    { from: "ptr", to: "ptr", scratch: "ptr", begin: "i32", end: "i32" },
    (k, { from, to, begin, end }) => {
      k.for(begin, end, 1, (item) => {
        const source = variable(k, at(from, item, CHUNK));
        const target = variable(k, at(to, item, CHUNK));
        k.for(0, CHUNK, VECTORS * k.vectorBytes, () => {
          const values = Array.from(
            { length: VECTORS },
            (_, i) => k.let(load(k.vector, source, i * k.vectorBytes)),
          );
          values.forEach((value, i) => k.store(value, target, i * k.vectorBytes));
          k.set(source, at(source, i32(1), VECTORS * k.vectorBytes));
          k.set(target, at(target, i32(1), VECTORS * k.vectorBytes));
        });
      });
    },
    lanes,
  );
}

/** A program of one kernel that reads one tensor and writes another. */
function programOf(own: Kernel, read: number, written: number): Program {
  const operand = (place: OperandMemory["place"], bytes: number) => ({ place, offset: 0, bytes });
  return {
    launches: [{
      kernel: own,
      operands: [
        operand({ kind: "input", name: "from" }, read),
        operand({ kind: "root", index: 0 }, written),
      ],
      firstWritten: 1,
      label: own.key,
    }],
    inputs: [{ name: "from", shape: [read / 4], dtype: "f32" }],
    roots: [{ shape: [written / 4], dtype: "f32" }],
    arenaBytes: 0,
  };
}

/** Seconds of the fastest of the runs that fit in some time, two at least. */
function fastest(run: () => void, time: number): number {
  let best = Infinity;
  const began = performance.now();
  for (let i = 0; i < 2 || performance.now() - began < 1000 * time; i++) {
    const start = performance.now();
    run();
    best = Math.min(best, (performance.now() - start) / 1000);
  }
  return best;
}

function timeKernel(
  device: CpuDevice,
  own: Kernel,
  from: Memory,
  to: Memory,
  time: number,
): number {
  const program = programOf(own, from.bytes, to.bytes);
  const executable = device.bind(program, { inputs: { from }, results: [to] });
  const seconds = fastest(executable.run, time);
  executable.free();
  return seconds;
}

function bestProduct(device: CpuDevice, time: number): number {
  const rates = PRODUCTS.map(([m, n, k]) => {
    const inputs = { a: device.allocate(4 * m * k), b: device.allocate(4 * k * n) };
    const results = [device.allocate(4 * m * n)];
    device.write(inputs.a, new Float32Array(m * k).fill(0.5));
    device.write(inputs.b, new Float32Array(k * n).fill(0.25));
    const product = g.matmul(g.input("a", [m, k]), g.input("b", [k, n]));
    const executable = device.compile([product], { inputs, results });
    const seconds = fastest(executable.run, time);
    executable.free();
    [inputs.a, inputs.b, ...results].forEach(device.free);
    return 2 * m * n * k / seconds / 1e9;
  });
  return Math.max(...rates);
}

/** The best product of the machine's BLAS. */
async function libraryProduct(threads: number, time: number): Promise<number> {
  const device = await openCpu({ threads });
  try {
    return bestProduct(device, time);
  } finally {
    await device.close();
  }
}

/** Measures the peaks of some threads on a device of their own, in about two seconds. */
export async function measurePeaks(options: PeakOptions): Promise<CpuPeaks> {
  const { threads, blas, native, bytes = 1 << 28, seconds: time = 0.25 } = options;
  const device = await openCpu({ threads, blas, native });
  try {
    const plain = { scratchBytes: 0, bytes: 0 };
    const items = 32 * threads;
    const flops = 2 * 4 * SUMS * ROUNDS * items;
    const [small, sums] = [device.allocate(2 * WIDEST), device.allocate(WIDEST * items)];
    const fmas: Kernel = { ...plain, key: "peak_fma", code: fmaCode, items, flops };
    const fmaSeconds = timeKernel(device, fmas, small, sums, time);

    const whole = device.allocate(bytes);
    device.clear(whole);
    const chunks = bytes / CHUNK;
    const ends = device.allocate(WIDEST * chunks);
    // Work of more operations than a thread does alone.
    const busy = { ...plain, flops: 1e9 };
    const reads: Kernel = { ...busy, key: "peak_read", code: readCode, items: chunks };
    const readSeconds = timeKernel(device, reads, whole, ends, time);
    const [from, to] = [whole.slice(0, bytes / 2), whole.slice(bytes / 2, bytes / 2)];
    const copies: Kernel = { ...busy, key: "peak_copy", code: copyCode, items: chunks / 2 };
    const copySeconds = timeKernel(device, copies, from, to, time);
    [small, sums, whole, ends].forEach(device.free);

    const fmaGflops = flops / fmaSeconds / 1e9;
    const productGflops = bestProduct(device, time);
    const library = blas === "none" && findBlas() !== undefined
      ? await libraryProduct(threads, time)
      : 0;
    const readGBs = bytes / readSeconds / 1e9;
    return {
      threads,
      fmaGflops,
      productGflops,
      machineGflops: Math.max(fmaGflops, productGflops, library),
      products: device.description.split(", ").at(-1)!,
      readGBs,
      copyGBs: bytes / copySeconds / 1e9,
      machineGBs: readGBs,
    };
  } finally {
    await device.close();
  }
}

/** Numbers of threads that peaks are measured at: 1, 2, 4, … and all. */
export function threadCounts(threads: number): number[] {
  const counts: number[] = [];
  for (let n = 1; n < threads; n *= 2) counts.push(n);
  return [...counts, threads];
}
