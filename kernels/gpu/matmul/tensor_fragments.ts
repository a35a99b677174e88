/**
 * How sides of a product lie in shared memory for tensor cores, and what each thread of a warp has of
 * them.
 *
 * Which of the 16 steps of a stretch is which of the two products of 8, and which lines of a warp are
 * together in a product, is free where both sides agree: it is chosen so that threads read four numbers
 * at once, as memory is laid out, and those of a warp from banks of their own.
 */

import { add, div, i32, mul, rem } from "../../language/language.ts";
import type { GpuBlock } from "../block.ts";
import type { Float, Index } from "../language.ts";
import { type Layout, type Side, type Stretches, TILE_THREADS } from "./stretches.ts";

/** What a side is without its elements. */
export type SideShape = Pick<Side, "lines" | "lies">;

/** Steps of a stretch: two products. */
export const TENSOR_DEPTH = 16;

/** Threads that multiply together, and how many times there are of them in a group. */
export const WARP = 32;
const WARPS = TILE_THREADS / WARP;
/** Columns of a product, and half of its rows. */
export const GROUP = 8;
/** Numbers that are read at once: steps of a thread, and groups where neighbouring lines do. */
export const QUAD = 4;
/** Elements between lines that keep banks apart. */
export const APART = 8;

/** How many warps a tile has below one another and side by side. */
export interface Warps {
  readonly down: number;
  readonly across: number;
}

/**
 * The warps of a tile, those of the fewest lines in all; undefined for one that is too small for
 * eight.
 */
export function warpsOf(rows: number, columns: number): Warps | undefined {
  const lines = ({ down, across }: Warps) => rows / down + columns / across;
  return [8, 4, 2, 1].map((down) => ({ down, across: WARPS / down }))
    .filter(({ down, across }) =>
      rows % (2 * GROUP * down) === 0 && columns % (GROUP * across) === 0
    )
    .sort((a, b) => lines(a) - lines(b))[0];
}

/** How a side lies in shared memory, and what a thread of a warp has of it. */
export interface Fragments extends Layout {
  /** Elements of a stretch. */
  readonly size: number;
  /** Groups of the warp. */
  readonly groups: number;
  /** The line of the tile that is an index of a group, of 8. */
  line(group: number, index: Index): Index;
  /** Elements that are side by side in a tile that is stored: lines of so many groups. */
  readonly together: number;
  /** Groups that are read together. */
  readonly chunk: number;
  /**
   * What a thread has in a stretch that begins at an element: four steps of each group of a chunk,
   * which begins with a group.
   */
  read(first: Index): (group: number) => readonly (readonly Float[])[];
}

/** Groups that are read together: few, so that a thread need not keep many numbers at once. */
const chunkOf = (groups: number): number => groups % QUAD === 0 ? QUAD : groups;

/**
 * Neighbouring steps lie side by side: [line][step]. A thread's steps are four neighbours; eight
 * threads read 128 neighbouring bytes.
 */
export function fragmentsAlong(
  k: GpuBlock,
  room: Stretches,
  lines: number,
  warp: WarpLines,
): Fragments {
  const { base, groups, x, y } = warp;
  const chunk = chunkOf(groups);
  const line = (group: number, index: Index) => add(base, add(index, i32(group * GROUP)));
  const at = (line: Index, step: Index) => add(mul(line, i32(TENSOR_DEPTH)), step);
  const own = k.let(at(line(0, x), mul(y, i32(QUAD))));
  return {
    ...{ at, line, groups, apart: 1, together: 1, chunk },
    size: lines * TENSOR_DEPTH,
    stored: (value) => k.tf32(value),
    read: (first) => {
      const from = k.let(add(first, own));
      return (group) =>
        Array.from(
          { length: chunk },
          (_, g) => k.read4(room.place, add(from, i32((group + g) * GROUP * TENSOR_DEPTH))),
        );
    },
  };
}

/**
 * Neighbouring lines lie side by side: [step][line], where the first of every thread's four steps come
 * first, then the second, so that four threads read neighbouring steps. Of 32 lines or more a thread
 * has four neighbours, one of each group.
 */
export function fragmentsAcross(
  k: GpuBlock,
  room: Stretches,
  lines: number,
  warp: WarpLines,
  order: StepOrder,
): Fragments {
  const { base, groups, x, y } = warp;
  const pitch = lines + APART;
  const chunk = chunkOf(groups);
  const together = groups % QUAD === 0 ? QUAD : 1;
  const line = (group: number, index: Index) => {
    const inside = group % together;
    const first = add(mul(index, i32(together)), i32((group - inside) * GROUP + inside));
    return add(base, first);
  };
  const own = k.let(add(mul(y, i32(pitch)), line(0, x)));
  return {
    ...{ line, groups, together, apart: 1, chunk },
    at: (line, step) => {
      const { which, of } = order(step);
      return add(mul(add(mul(which, i32(QUAD)), of), i32(pitch)), line);
    },
    size: pitch * TENSOR_DEPTH,
    stored: (value) => k.tf32(value),
    read: (first) => {
      const from = k.let(add(first, own));
      return (group) => {
        const steps = Array.from(
          { length: QUAD },
          (_, step) =>
            Array.from({ length: chunk / together }, (_, g) => {
              const at = add(from, i32(step * QUAD * pitch + (group + g * together) * GROUP));
              return together === 1 ? [k.read(room.place, at)] : k.read4(room.place, at);
            }).flat(),
        );
        return steps[0].map((_, g) => steps.map((step) => step[g]));
      };
    },
  };
}

/** Which of the four steps of a thread, and of which thread of four, a step of a stretch is. */
type StepOrder = (step: Index) => { readonly which: Index; readonly of: Index };

/** A thread has four neighbours. */
export const neighbours: StepOrder = (step) => ({
  which: rem(step, i32(QUAD)),
  of: div(step, i32(QUAD)),
});

/** A thread has two neighbours of each product of 8: those of which it has sums as columns. */
export const asSums: StepOrder = (step) => ({
  which: add(mul(div(step, i32(GROUP)), i32(2)), rem(step, i32(2))),
  of: div(rem(step, i32(GROUP)), i32(2)),
});

/** The lines of a warp, and a thread's place among those of a product. */
interface WarpLines {
  readonly base: Index;
  readonly groups: number;
  readonly x: Index;
  readonly y: Index;
}
