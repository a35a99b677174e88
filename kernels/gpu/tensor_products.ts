/**
 * Products of tiles on tensor cores, in TF32 with sums in f32. As in products.ts a group walks the
 * length in stretches that lie in shared memory; each of its eight warps has a part of the tile, whose
 * sums are tiles of `mma`.
 *
 * Which of the 16 steps of a stretch is which of the two products of 8, and which lines of a warp are
 * together in a product, is free where both sides agree: it is chosen so that threads read four numbers
 * at once, as memory is laid out, and those of a warp from banks of their own.
 */

import { add, div, i32, mul, rem } from "../language.ts";
import { f32, type Float, type Four, type GpuBlock, type Index } from "./language.ts";
import {
  eachStretch,
  type Layout,
  type Side,
  staging,
  type Steps,
  type Stretches,
  stretches,
  TILE_THREADS,
} from "./stretches.ts";
import type { TileElement } from "./tile_store.ts";

/** Steps of a stretch: two products. */
export const TENSOR_DEPTH = 16;

/** Threads that multiply together, and how many times there are of them in a group. */
const WARP = 32;
const WARPS = TILE_THREADS / WARP;
/** Lines that a warp reads at once: a product has 16 rows, two times that, and 8 columns. */
const GROUP = 8;
/** Lines' groups that are read at once where neighbouring lines lie side by side. */
const QUAD = 4;
/** Elements between lines that keep banks apart. */
const APART = 8;

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
interface Fragments extends Layout {
  /** Elements of a stretch. */
  readonly size: number;
  /** Groups of the warp. */
  readonly groups: number;
  /** The line of the tile that is an index of a group, of 8. */
  line(group: number, index: Index): Index;
  /** Elements that are side by side in a tile that is stored: lines of so many groups. */
  readonly together: number;
  /** Every group's element of each of a thread's four steps, of a stretch from an element on. */
  read(first: Index): readonly (readonly Float[])[];
}

/**
 * Neighbouring steps lie side by side: [line][step]. A thread's steps are four neighbours; eight
 * threads read 128 neighbouring bytes.
 */
function fragmentsAlong(k: GpuBlock, room: Stretches, lines: number, warp: WarpLines): Fragments {
  const { base, groups, x, y } = warp;
  const line = (group: number, index: Index) => add(base, add(index, i32(group * GROUP)));
  const at = (line: Index, step: Index) => add(mul(line, i32(TENSOR_DEPTH)), step);
  const own = k.let(at(line(0, x), mul(y, i32(QUAD))));
  return {
    ...{ at, line, groups, apart: 1, together: 1 },
    size: lines * TENSOR_DEPTH,
    stored: (value) => k.tf32(value),
    read: (first) => {
      const from = k.let(add(first, own));
      return Array.from(
        { length: groups },
        (_, g) => k.read4(room.place, add(from, i32(g * GROUP * TENSOR_DEPTH))),
      );
    },
  };
}

/**
 * Neighbouring lines lie side by side: [step][line], where the first of every thread's four steps come
 * first, then the second. Of 32 lines or more a thread has four neighbours, one of each group.
 */
function fragmentsAcross(k: GpuBlock, room: Stretches, lines: number, warp: WarpLines): Fragments {
  const { base, groups, x, y } = warp;
  const pitch = lines + APART;
  const together = groups % QUAD === 0 ? QUAD : 1;
  const line = (group: number, index: Index) => {
    const inside = group % together;
    const first = add(mul(index, i32(together)), i32((group - inside) * GROUP + inside));
    return add(base, first);
  };
  const own = k.let(add(mul(y, i32(pitch)), line(0, x)));
  return {
    ...{ line, groups, together, apart: 1 },
    at: (line, step) => {
      const slot = add(mul(rem(step, i32(QUAD)), i32(QUAD)), div(step, i32(QUAD)));
      return add(mul(slot, i32(pitch)), line);
    },
    size: pitch * TENSOR_DEPTH,
    stored: (value) => k.tf32(value),
    read: (first) => {
      const from = k.let(add(first, own));
      const steps = Array.from(
        { length: QUAD },
        (_, step) =>
          Array.from({ length: groups / together }, (_, g) => {
            const at = add(from, i32(step * QUAD * pitch + g * together * GROUP));
            return together === 1 ? [k.read(room.place, at)] : k.read4(room.place, at);
          }).flat(),
      );
      return steps[0].map((_, g) => steps.map((step) => step[g]));
    },
  };
}

/** The lines of a warp, and a thread's place among those of a product. */
interface WarpLines {
  readonly base: Index;
  readonly groups: number;
  readonly x: Index;
  readonly y: Index;
}

/** Sums of a tile, and how its sides are read. */
export interface TensorSums {
  readonly rows: number;
  readonly columns: number;
  readonly warps: Warps;
  /** Tiles of `mma`: [16 rows][8 columns]. */
  readonly values: readonly (readonly Four<Float>[])[];
  readonly left: Fragments;
  readonly right: Fragments;
  /** The thread's warp among those below one another, and its place in the products of its warp. */
  readonly down: Index;
  readonly x: Index;
  readonly y: Index;
}

/** Shared memory of two stretches of each side. */
export function tensorRoom(k: GpuBlock, left: Side, right: Side): Stretches {
  const lines = ({ lines, lies }: Side) => lines + (lies === "along" ? 0 : APART);
  return stretches(k, lines(left) + lines(right), TENSOR_DEPTH);
}

/** Sums of a tile, zeros at first. @throws Error for one that `warpsOf` has no warps of. */
export function tensorSums(
  k: GpuBlock,
  room: Stretches,
  left: Side,
  right: Side,
): TensorSums {
  const warps = warpsOf(left.lines, right.lines);
  if (warps === undefined) throw new Error("gpu kernel: a tile too small for tensor cores");
  const warp = k.let(div(k.thread, i32(WARP)));
  const [x, y] = [k.let(rem(div(k.thread, i32(4)), i32(GROUP))), k.let(rem(k.thread, i32(4)))];
  const down = k.let(div(warp, i32(warps.across)));
  const across = k.let(rem(warp, i32(warps.across)));
  const fragments = ({ lines, lies }: Side, index: Index, count: number) => {
    const own = {
      base: k.let(mul(index, i32(lines / count))),
      groups: lines / count / GROUP,
      x,
      y,
    };
    return (lies === "along" ? fragmentsAlong : fragmentsAcross)(k, room, lines, own);
  };
  const [a, b] = [fragments(left, down, warps.down), fragments(right, across, warps.across)];
  const zero = () => k.variable(f32(0));
  return {
    ...{ rows: left.lines, columns: right.lines, warps, left: a, right: b, down, x, y },
    values: Array.from(
      { length: a.groups / 2 },
      () => Array.from({ length: b.groups }, () => [zero(), zero(), zero(), zero()] as const),
    ),
  };
}

/** Adds left·right along some steps to the sums of a tile. All threads of the group take part. */
export function addTensorProduct(
  k: GpuBlock,
  room: Stretches,
  { values, left, right }: TensorSums,
  a: Side,
  b: Side,
  steps: Steps,
): void {
  const staged = [
    { stage: staging(k, room, a, steps, left), at: 0 },
    { stage: staging(k, room, b, steps, right), at: left.size },
  ];
  eachStretch(k, room, staged, left.size + right.size, steps, (_, buffer) => {
    const columns = right.read(k.let(add(buffer, i32(left.size))));
    const rows = left.read(buffer);
    for (const first of [0, 2]) {
      values.forEach((line, r) => {
        const [upper, lower] = [rows[2 * r], rows[2 * r + 1]];
        const own = [upper[first], lower[first], upper[first + 1], lower[first + 1]] as const;
        line.forEach((sums, c) => k.mma(sums, own, [columns[c][first], columns[c][first + 1]]));
      });
    }
  });
}

/** Elements of a thread that are handled together, so that what they read arrives together. */
const TOGETHER = 2;
/** Elements between rows of a tile that is stored: those of eight threads have banks of their own. */
const ROW_APART = 4;

/**
 * Hands every element of a tile to a thread, as `eachElement` of tile_store.ts does: 16 rows of every
 * warp at a time.
 */
export function eachTensorElement(
  k: GpuBlock,
  room: Stretches,
  { columns, warps, values, left, right, down, x, y }: TensorSums,
  visit: (elements: readonly TileElement[]) => void,
): void {
  const pitch = columns + ROW_APART;
  const own = k.let(rem(k.thread, i32(columns)));
  const ownRow = k.let(div(k.thread, i32(columns)));
  const step = TILE_THREADS / columns;
  const count = warps.down * 2 * GROUP / step;
  const together = Math.min(TOGETHER, count);
  // Rows of a part: [warp][half of a product][row].
  const line = k.let(mul(add(mul(down, i32(2 * GROUP)), x), i32(pitch)));
  values.forEach((tiles, part) => {
    if (part > 0) k.barrier();
    for (const half of [0, 1]) {
      for (const column of [0, 1]) {
        const index = k.let(add(mul(y, i32(2)), i32(column)));
        for (let c = 0; c < tiles.length; c += right.together) {
          const sums = tiles.slice(c, c + right.together).map((four) => four[2 * half + column]);
          const at = k.let(add(add(line, i32(half * GROUP * pitch)), right.line(c, index)));
          const [v0, v1, v2, v3] = sums;
          if (sums.length === 1) k.write(room.place, at, v0);
          else k.write4(room.place, at, [v0, v1, v2, v3]);
        }
      }
    }
    k.barrier();
    k.for(0, count, together, (index) => {
      visit(Array.from({ length: together }, (_, i) => {
        const from = k.let(add(ownRow, mul(add(index, i32(i)), i32(step))));
        const value = k.read(room.place, add(mul(from, i32(pitch)), own));
        return { row: k.let(rowOf(from, part)), column: own, value };
      }));
    });
  });

  /** The row of a tile of which a row of a part is. */
  function rowOf(from: Index, part: number): Index {
    const [warp, inside] = [div(from, i32(2 * GROUP)), rem(from, i32(2 * GROUP))];
    const [half, index] = [div(inside, i32(GROUP)), rem(inside, i32(GROUP))];
    const base = mul(warp, i32(left.groups * GROUP));
    // Groups 2·part and 2·part + 1: of those that are side by side, one after the other.
    const offset = left.together === 1
      ? add(mul(half, i32(GROUP)), add(index, i32(2 * part * GROUP)))
      : add(
        add(mul(index, i32(QUAD)), half),
        i32((2 * part - 2 * part % QUAD) * GROUP + 2 * part % QUAD),
      );
    return add(base, offset);
  }
}
