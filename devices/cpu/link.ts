/** Links a program: addresses for its operands, and the barriers that it cannot do without. */

import type { MatmulShape } from "../../kernels/kernel.ts";
import type { Launch, OperandMemory, Program } from "../../kernels/program.ts";
import type { Bindings } from "../device.ts";
import type { GemmCall } from "./blas.ts";
import type { CpuMemory } from "./memory.ts";
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

function check(program: Program, { inputs, results }: Bindings): void {
  const problems = program.inputs.flatMap(({ name, shape }) => {
    const bytes = 4 * shape.reduce((n, m) => n * m, 1);
    const bound = inputs[name];
    if (bound === undefined) return [`input ${name} [${shape.join(", ")}] has no memory`];
    return bound.bytes === bytes ? [] : [`input ${name}: ${bound.bytes} bytes, expected ${bytes}`];
  });
  program.roots.forEach(({ shape, through }, i) => {
    const bytes = 4 * shape.reduce((n, m) => n * m, 1);
    const shared = through === undefined ? undefined : inputs[through] as CpuMemory | undefined;
    if (shared !== undefined && shared.address !== (results[i] as CpuMemory).address) {
      problems.push(`result ${i}: expected the memory of ${through}, which it is written through`);
    }
    if (results[i]?.bytes !== bytes) {
      problems.push(`result ${i}: ${results[i]?.bytes} bytes, expected ${bytes}`);
    }
  });
  if (problems.length > 0) throw new Error(`cpu: bindings: ${problems.join("; ")}`);
}

function addressOf({ place }: OperandMemory, bindings: Bindings, arena: number): number {
  switch (place.kind) {
    case "arena":
      return arena + place.offset;
    case "input":
      return (bindings.inputs[place.name] as CpuMemory).address;
    case "root":
      return (bindings.results[place.index] as CpuMemory).address;
    default:
      return place satisfies never;
  }
}

/** A product that cblas_sgemm can do as it stands. */
export function gemmCall(shape: MatmulShape, threads: number): GemmCall | undefined {
  const { batch, m, n, k, a, b, accumulates = false } = shape;
  if (batch !== 1 || m * n * k < 32 * 32 * 32) return undefined;
  const transposeA = a.kStride !== 1;
  const transposeB = b.nStride !== 1;
  if ((transposeA && a.mStride !== 1) || (transposeB && b.kStride !== 1)) return undefined;
  const lda = transposeA ? a.kStride : a.mStride;
  const ldb = transposeB ? b.nStride : b.kStride;
  if (lda < (transposeA ? m : k) || ldb < (transposeB ? k : n)) return undefined;
  // Slices of whole register tiles, one a thread.
  const rows = Math.ceil(Math.ceil(m / threads) / 16) * 16;
  return { m, n, k, transposeA, transposeB, lda, ldb, ldc: n, accumulates, rows };
}

const overlaps = (a: Range, list: readonly Range[]) =>
  list.some((b) => a.begin < b.end && b.begin < a.end);

/** Addresses and barriers: a launch waits where it touches what an unfinished one writes. */
export function linkLaunches(
  program: Program,
  bindings: Bindings,
  { arena, kernel, threads, blas }: LinkContext,
): LaunchText[] {
  check(program, bindings);
  let written: Range[] = [];
  let read: Range[] = [];
  return program.launches.map((launch: Launch): LaunchText => {
    const bases = launch.operands.map((operand) => addressOf(operand, bindings, arena));
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
    const { matmul } = launch.kernel;
    // A sum that goes elsewhere than what it is added to is the kernel's own.
    const inPlace = !matmul?.accumulates || operands[2] === operands[3];
    const call = blas && matmul !== undefined && inPlace ? gemmCall(matmul, threads) : undefined;
    if (call !== undefined) {
      return { kernel: call, operands, items: Math.ceil(call.m / call.rows), grain: 1, waits };
    }
    const { items, key } = launch.kernel;
    // A few pieces a thread, so that one that is held up does not hold up all.
    const grain = Math.max(1, Math.ceil(items / (threads * 4)));
    return { kernel: kernel(key), operands, items, grain, waits };
  });
}
