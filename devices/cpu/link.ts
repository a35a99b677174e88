/** Links a program: addresses for its operands, and the barriers that it cannot do without. */

import type { MatmulShape } from "../../kernels/kernel.ts";
import type { Launch, Program } from "../../kernels/program.ts";
import { checkBindings, memoryAt } from "../bindings.ts";
import type { Bindings } from "../device.ts";
import { expandedColumns } from "../../kernels/matmul/shape.ts";
import type { GemmCall } from "./blas.ts";
import { type CpuMemory, piece } from "./memory.ts";
import type { LaunchText } from "./messages.ts";

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

/** Whether a library computes a launch, wherever its operands are. */
export function isGemm({ kernel: { matmul } }: Launch, threads: number): boolean {
  return matmul !== undefined && !matmul.accumulates && gemmCall(matmul, threads) !== undefined;
}

/** What launches touch that some thread may not have finished. */
interface Unfinished {
  written: Range[];
  read: Range[];
}

/** Bytes and operations below which a launch takes less time than threads take to meet. */
const ALONE_WORK = 32768;

/** What a launch runs, and in how many pieces. */
type Work = Pick<LaunchText, "kernel" | "items" | "grain" | "alone">;

/**
 * Numbers what launches prepare in scratch memory: one number for one content, as long as no other
 * launch takes the memory, and nothing that it is made of can have changed.
 */
function preparations(
  kernel: LinkContext["kernel"],
): (launch: Launch, operands: readonly number[], waits: boolean) => Pick<LaunchText, "prepare"> {
  let count = 0;
  let held: string | undefined;
  return ({ kernel: { prepare, scratchBytes } }, [first], waits) => {
    const content = prepare && `${prepare.key} ${first}`;
    const takesScratch = scratchBytes > 0 && content !== held;
    if (waits || takesScratch) held = undefined;
    if (prepare === undefined) return {};
    if (held === undefined) count++;
    held = content;
    return { prepare: { kernel: kernel(prepare.key), content: count } };
  };
}

/** What launches read first: each says so for those before it. */
function readAhead(program: Program, launches: readonly LaunchText[]): LaunchText[] {
  let ahead: LaunchText["ahead"];
  return launches.toReversed().map((launch, back): LaunchText => {
    const { streams } = program.launches[launches.length - 1 - back].kernel;
    if (streams !== undefined && typeof launch.kernel === "number") {
      const bytes = launch.grain * streams.itemBytes;
      const pieces = Math.ceil(launch.items / launch.grain);
      ahead = { address: launch.operands[streams.operand], bytes, pieces };
    }
    return ahead === undefined ? launch : { ...launch, ahead };
  }).toReversed();
}

/**
 * The most items to a piece, with so many pieces or more, with which the thread that has most to do
 * has least: of 21 items for 2 threads and 8 pieces, 1, since pieces of 3 would be 12 items and 9.
 */
function evenGrain(items: number, threads: number, pieces: number): number {
  let best = Math.max(1, Math.ceil(items / pieces));
  // More items than this are even enough whatever is left over.
  if (items > pieces * pieces) return best;
  const longest = (grain: number) => Math.ceil(Math.ceil(items / grain) / threads) * grain;
  for (let grain = best - 1; grain > 0; grain--) if (longest(grain) < longest(best)) best = grain;
  return best;
}

/** A product for the library, or a kernel of our own. */
function workOf(
  launched: Launch,
  operands: readonly number[],
  { kernel, threads, blas }: LinkContext,
): Work {
  const { matmul, expansion, key, items, bytes, flops, streams, ...own } = launched.kernel;
  // A sum that goes elsewhere than what it is added to is the kernel's own.
  const inPlace = !matmul?.accumulates || operands[2] === operands[3];
  const call = blas && matmul !== undefined && inPlace ? gemmCall(matmul, threads) : undefined;
  if (call === undefined) {
    // What is one piece is done by the thread that comes to it first.
    const alone = bytes + flops <= ALONE_WORK;
    // A few pieces a thread, so that one that is held up does not hold up all; fewer of what is read
    // in order, since every piece begins with waiting for memory.
    const pieces = threads * (streams === undefined ? 4 : 2);
    const grain = alone ? items : own.grain ?? evenGrain(items, threads, pieces);
    return { kernel: kernel(key), items, grain, alone };
  }
  if (expansion === undefined) {
    const parts = Math.ceil(call.m / call.rows);
    return { kernel: call, items: parts, grain: 1, alone: parts === 1 };
  }
  const columns = expandedColumns(matmul!, threads);
  const expanded = { ...call, rows: call.m, columns, expansion: kernel(expansion.key) };
  const parts = Math.ceil(call.n / columns);
  return { kernel: expanded, items: parts, grain: 1, alone: parts === 1 };
}

/**
 * Addresses and barriers: a launch waits where it touches what an unfinished one writes. Launches
 * that the first thread does alone are in order among themselves.
 */
export function linkLaunches(
  program: Program,
  bindings: Bindings,
  context: LinkContext,
): LaunchText[] {
  checkBindings<CpuMemory>("cpu", program, bindings, (a, b) => a.address === b.address);
  const inArena = (offset: number) => piece(context.arena + offset, 0);
  const nothing = (): Unfinished => ({ written: [], read: [] });
  let [shared, first] = [nothing(), nothing()];
  const prepareOf = preparations(context.kernel);
  const launches = program.launches.map((launch: Launch): LaunchText => {
    const bases = launch.operands.map(({ place }) => memoryAt(place, bindings, inArena).address);
    const ranges = bases.map((begin, i) => ({ begin, end: begin + launch.operands[i].bytes }));
    const reads = ranges.slice(0, launch.firstWritten);
    const writes = ranges.slice(launch.firstWritten);
    if (launch.kernel.inPlace !== undefined) {
      writes.push(...launch.kernel.inPlace.map((i) => ranges[i]));
    }
    const touches = ({ written, read }: Unfinished) =>
      reads.some((r) => overlaps(r, written)) ||
      writes.some((w) => overlaps(w, written) || overlaps(w, read));
    const operands = bases.map((address, i) => address + launch.operands[i].offset);
    const work = workOf(launch, operands, context);
    const waits = touches(shared) || !work.alone && touches(first);
    if (waits) [shared, first] = [nothing(), nothing()];
    const unfinished = work.alone ? first : shared;
    unfinished.written.push(...writes);
    unfinished.read.push(...reads);
    return { ...work, operands, waits, ...prepareOf(launch, operands, waits) };
  });
  return readAhead(program, launches);
}
