/** Links a program: addresses for its operands, and the barriers that it cannot do without. */

import type { MatmulShape } from "../../kernels/kernel.ts";
import type { Launch, Program } from "../../kernels/program.ts";
import { checkBindings, memoryAt } from "../bindings.ts";
import type { Bindings } from "../device.ts";
import type { GemmCall } from "./blas.ts";
import { type CpuMemory, piece } from "./memory.ts";
import type { LaunchText } from "./player.ts";

/** What linking needs to know. */
export interface LinkContext {
  readonly arena: number;
  readonly kernel: (key: string) => number;
  readonly threads: number;
  readonly blas: boolean;
}

interface Range {
  readonly begin: number;
  readonly end: number;
}

/** A product that cblas_sgemm can do as it stands. */
export function gemmCall(shape: MatmulShape, threads: number): GemmCall | undefined {
  const { batch, m, n, k, a, b } = shape;
  if (batch !== 1 || m * n * k < 32 * 32 * 32) return undefined;
  const transposeA = a.kStride !== 1;
  const transposeB = b.nStride !== 1;
  if ((transposeA && a.mStride !== 1) || (transposeB && b.kStride !== 1)) return undefined;
  const lda = transposeA ? a.kStride : a.mStride;
  const ldb = transposeB ? b.nStride : b.kStride;
  if (lda < (transposeA ? m : k) || ldb < (transposeB ? k : n)) return undefined;
  // Slices of whole register tiles, one a thread.
  const rows = Math.ceil(Math.ceil(m / threads) / 16) * 16;
  return { m, n, k, transposeA, transposeB, lda, ldb, ldc: n, rows };
}

const overlaps = (a: Range, list: readonly Range[]) =>
  list.some((b) => a.begin < b.end && b.begin < a.end);

/** Addresses and barriers: a launch waits where it touches what an unfinished one writes. */
export function linkLaunches(
  program: Program,
  bindings: Bindings,
  { arena, kernel, threads, blas }: LinkContext,
): LaunchText[] {
  checkBindings<CpuMemory>("cpu", program, bindings, (a, b) => a.address === b.address);
  const inArena = (offset: number) => piece(arena + offset, 0);
  let written: Range[] = [];
  let read: Range[] = [];
  return program.launches.map((launch: Launch): LaunchText => {
    const bases = launch.operands.map(({ place }) => memoryAt(place, bindings, inArena).address);
    const ranges = bases.map((begin, i) => ({ begin, end: begin + launch.operands[i].bytes }));
    const reads = ranges.slice(0, launch.firstWritten);
    const writes = ranges.slice(launch.firstWritten);
    if (launch.kernel.inPlace !== undefined) {
      writes.push(...launch.kernel.inPlace.map((i) => ranges[i]));
    }
    const waits = reads.some((r) => overlaps(r, written)) ||
      writes.some((w) => overlaps(w, written) || overlaps(w, read));
    if (waits) [written, read] = [[], []];
    written.push(...writes);
    read.push(...reads);
    const operands = bases.map((address, i) => address + launch.operands[i].offset);
    const call = blas && launch.kernel.matmul !== undefined
      ? gemmCall(launch.kernel.matmul, threads)
      : undefined;
    if (call !== undefined) {
      return { kernel: call, operands, items: Math.ceil(call.m / call.rows), grain: 1, waits };
    }
    const { items, key } = launch.kernel;
    // A few pieces a thread, so that one that is held up does not hold up all.
    const grain = Math.max(1, Math.ceil(items / (threads * 4)));
    return { kernel: kernel(key), operands, items, grain, waits };
  });
}
