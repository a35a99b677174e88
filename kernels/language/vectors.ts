/** Loops over vectors that several kernels share. */

import { axisOffset, type OperandLayout } from "../kernel.ts";
import type { Block } from "./block.ts";
import { foldQuads } from "./lanes.ts";
import { add, constant, i32, mul, offset, shuffle } from "./language.ts";
import type { Cache, Expr, Lanes, ValueType, Vector } from "./syntax.ts";

/** A value of a vector. */
export type V = Expr<Vector>;
export type Pointer = Expr<"ptr">;
export type Index = Expr<"i32">;

/** Bytes of an f32, and of four. */
export const F32 = 4;
export const FOUR = 16;
/** Bytes of the widest vector, for which there is room in scratch memory. */
export const WIDEST = 64;

/** The most lanes up to some that divide a width, which is a multiple of 4. */
export function lanesFor(most: Lanes, width: number): Lanes {
  return ([16, 8, 4] as const).find((lanes) => lanes <= most && width % lanes === 0) ?? 4;
}

/** A new variable with a first value. */
export function variable<T extends ValueType>(
  k: Block,
  value: Expr<T>,
): Expr<T> {
  const to = k.variable(value.type);
  k.set(to as Expr<T>, value);
  return to as Expr<T>;
}

/** So many vector variables, all 0. */
export function zeros(k: Block, count: number): V[] {
  return Array.from({ length: count }, () => variable(k, constant(k.vector, 0)));
}

/** base + index · bytes. */
export function at(base: Pointer, index: Index, bytes: number): Pointer {
  return offset(base, mul(index, i32(bytes)));
}

/**
 * Bytes between what a product reads of a matrix and what it asks for. A processor's own prefetching
 * stops at every page (4 KiB), and with arithmetic in between few loads wait at a time: a matrix read
 * once came at a third of the memory's bandwidth without this.
 */
export const READ_AHEAD = 8192;
/** Bytes that memory gives at a time. */
const LINE = 64;

/** Asks for what will be read of a range of bytes. */
export function prefetchRange(
  k: Block,
  from: Pointer,
  first: number,
  bytes: number,
  cache: Cache = 1,
): void {
  for (let at = 0; at < bytes; at += LINE) k.prefetch(from, first + at, cache);
}

/** Moves pointers on by so many bytes each. */
export function advance(k: Block, moves: readonly (readonly [Pointer, number])[]): void {
  for (const [pointer, bytes] of moves) k.set(pointer, offset(pointer, bytes));
}

/** The largest divisor of a count up to a limit. */
export function divisor(count: number, limit: number): number {
  let best = 1;
  for (let d = 1; d <= Math.min(count, limit); d++) if (count % d === 0) best = d;
  return best;
}

/**
 * Runs `body` for `count` places with pointers that move by their steps, several places to a round
 * of the loop. `body` gets the pointers and what to add to them for its place.
 */
export function eachPlace(
  k: Block,
  count: number,
  unroll: number,
  moves: readonly (readonly [Pointer, number])[],
  body: (pointers: readonly Pointer[], offsets: readonly number[]) => void,
): void {
  const places = divisor(count, unroll);
  const pointers = places === count
    ? moves.map(([pointer]) => k.let(pointer))
    : moves.map(([pointer]) => variable(k, pointer));
  const round = () => {
    for (let place = 0; place < places; place++) {
      body(pointers, moves.map(([, step]) => place * step));
    }
  };
  if (places === count) return round();
  k.for(0, count / places, 1, () => {
    round();
    advance(k, moves.map(([, step], i) => [pointers[i], places * step]));
  });
}

/** [Σa, Σb, Σc, Σd] over lanes. */
export function sums(k: Block, a: V, b: V, c: V, d: V): V {
  const halves = (x: V, y: V) =>
    k.let(add(shuffle(x, y, [0, 1, 4, 5]), shuffle(x, y, [2, 3, 6, 7])));
  const [ab, cd] = [halves(a, b), halves(c, d)];
  const fours = add(shuffle(ab, cd, [0, 2, 4, 6]), shuffle(ab, cd, [1, 3, 5, 7]));
  return k.let(foldQuads(fours, k, add));
}

/** As `sums`, of up to four vectors; 0 for those that are missing. */
export function sumsOfSome(k: Block, vectors: readonly V[]): V {
  const [a, b, c, d] = [0, 1, 2, 3].map((i) => vectors[i] ?? constant(k.vector, 0));
  return sums(k, a, b, c, d);
}

/** A copy of four vectors with rows and columns exchanged, in every group of four lanes. */
export function transpose(k: Block, [a, b, c, d]: readonly V[]): V[] {
  const low = (x: V, y: V) => k.let(shuffle(x, y, [0, 4, 1, 5]));
  const high = (x: V, y: V) => k.let(shuffle(x, y, [2, 6, 3, 7]));
  const [ac, bd, acHigh, bdHigh] = [low(a, c), low(b, d), high(a, c), high(b, d)];
  return [low(ac, bd), high(ac, bd), low(acHigh, bdHigh), high(acHigh, bdHigh)];
}

/** Rows in memory: the first and the bytes from each to the next. */
export interface Rows {
  readonly first: Pointer;
  readonly stride: number;
}

/** An operand of logical axes [batch, time, heads, width]. */
export interface HeadOperand {
  /** The first row of a batch and head. */
  row(batch: Index, head: Index): Pointer;
  /** Bytes from one time to the next. */
  readonly timeStride: number;
}

/**
 * An operand [batch, time, heads, width] at an address. Throws where time has no single stride or
 * the width is not contiguous.
 */
export function headOperand(name: string, base: Pointer, layout: OperandLayout): HeadOperand {
  const [batchAxis, timeAxis, headAxis, widthAxis] = layout.axes;
  const [time, width] = [timeAxis, widthAxis].map((axis) => {
    const factors = axis.filter(({ size }) => size !== 1);
    const regular = factors.every(({ stride }, i) =>
      i === 0 || factors[i - 1].stride === stride * factors[i].size
    );
    return regular ? factors.at(-1)?.stride ?? 0 : undefined;
  });
  if (layout.axes.length !== 4 || time === undefined || width !== 1) {
    throw new Error(
      `${name}: expected axes [batch, time, heads, width], time of one stride and width of ` +
        `stride 1, found ${JSON.stringify(layout.axes)}`,
    );
  }
  return {
    row: (batch, head) =>
      offset(
        offset(base, layout.offset * F32),
        add(axisOffset(batch, batchAxis), axisOffset(head, headAxis)),
      ),
    timeStride: time * F32,
  };
}
