/**
 * Products of tiles on tensor cores, in TF32 with sums in f32. As in products.ts a group walks the
 * length in stretches that lie in shared memory; each of its warps has a part of the tile, whose sums
 * are tiles of `mma`.
 */

import { add, div, i32, mul, rem } from "../../language/language.ts";
import type { GpuBlock } from "../block.ts";
import { f32, type Float, type Four, type Index } from "../language.ts";
import type { Sums } from "./products.ts";
import {
  eachStretch,
  eachWrittenStretch,
  type Side,
  staging,
  type Steps,
  type Stretches,
  stretches,
  TILE_THREADS,
} from "./stretches.ts";
import {
  APART,
  type Fragments,
  fragmentsAcross,
  fragmentsAlong,
  GROUP,
  neighbours,
  QUAD,
  type SideShape,
  TENSOR_DEPTH,
  WARP,
  type Warps,
} from "./tensor_fragments.ts";
import type { TileElement } from "./tile_store.ts";

/** Sums of a tile, and how its sides are read. */
export interface TensorSums extends Sums {
  readonly warps: Warps;
  /** The same sums as tiles of `mma`: [16 rows][8 columns]. */
  readonly tiles: readonly (readonly Four<Float>[])[];
  readonly left: Fragments;
  readonly right: Fragments;
  /** The thread's warp among those below one another, and its place in the products of its warp. */
  readonly down: Index;
  readonly x: Index;
  readonly y: Index;
}

/** Elements between rows of a tile that is stored: those of eight threads have banks of their own. */
const ROW_APART = 4;

/** Shared memory of two stretches of each side, and of what of a tile is stored at a time. */
export function tensorRoom(
  k: GpuBlock,
  left: SideShape,
  right: SideShape,
  { down }: Warps,
): Stretches {
  const lines = ({ lines, lies }: SideShape) => lines + (lies === "along" ? 0 : APART);
  const stored = down * 2 * GROUP * (right.lines + ROW_APART);
  return stretches(k, lines(left) + lines(right), TENSOR_DEPTH, stored);
}

/** Sums of a tile, zeros at first. */
export function tensorSums(
  k: GpuBlock,
  room: Stretches,
  left: SideShape,
  right: SideShape,
  warps: Warps,
  order = neighbours,
): TensorSums {
  const warp = k.let(div(k.thread, i32(WARP)));
  const [x, y] = [k.let(rem(div(k.thread, i32(4)), i32(GROUP))), k.let(rem(k.thread, i32(4)))];
  const down = k.let(div(warp, i32(warps.across)));
  const across = k.let(rem(warp, i32(warps.across)));
  const fragments = ({ lines, lies }: SideShape, index: Index, count: number) => {
    const own = {
      base: k.let(mul(index, i32(lines / count))),
      groups: lines / count / GROUP,
      x,
      y,
    };
    return lies === "along"
      ? fragmentsAlong(k, room, lines, own)
      : fragmentsAcross(k, room, lines, own, order);
  };
  const [a, b] = [fragments(left, down, warps.down), fragments(right, across, warps.across)];
  const zero = () => k.variable(f32(0));
  const count = (length: number) => Array.from({ length }, (_, i) => i);
  const tiles = count(a.groups / 2).map(() =>
    count(b.groups).map(() => [zero(), zero(), zero(), zero()] as const)
  );
  return {
    ...{ warps, tiles, left: a, right: b, down, x, y },
    values: count(a.groups).map((r) =>
      count(2 * b.groups).map((c) => tiles[Math.floor(r / 2)][Math.floor(c / 2)][r % 2 * 2 + c % 2])
    ),
    row: (r) => a.line(r, x),
    column: (c) => b.line(Math.floor(c / 2), add(mul(y, i32(2)), i32(c % 2))),
  };
}

/** Adds left·right along some steps to the sums of a tile. All threads of the group take part. */
export function addTensorProduct(
  k: GpuBlock,
  room: Stretches,
  sums: TensorSums,
  a: Side,
  b: Side,
  steps: Steps,
): void {
  const { left, right } = sums;
  const staged = [
    { stage: staging(k, room, a, steps, left), at: 0 },
    { stage: staging(k, room, b, steps, right), at: left.size },
  ];
  eachStretch(k, room, staged, left.size + right.size, steps, (_, buffer) => {
    const read = left.read(buffer);
    const chunks = Array.from({ length: left.groups / left.chunk }, (_, i) => read(i * left.chunk));
    multiply(k, sums, chunks.flat(), k.let(add(buffer, i32(left.size))));
  });
}

/**
 * Adds two products of 8 steps to the sums of a warp: of four numbers of each of its groups of rows,
 * and of a stretch that lies in shared memory from an element on.
 */
function multiply(
  k: GpuBlock,
  { tiles, right }: TensorSums,
  rows: readonly (readonly Float[])[],
  from: Index,
): void {
  const read = right.read(from);
  for (let group = 0; group < right.groups; group += right.chunk) {
    const columns = read(group);
    for (const first of [0, 2]) {
      tiles.forEach((line, r) => {
        const [upper, lower] = [rows[2 * r], rows[2 * r + 1]];
        const own = [upper[first], lower[first], upper[first + 1], lower[first + 1]] as const;
        columns.forEach((column, c) =>
          k.mma(line[group + c], own, [column[first], column[first + 1]])
        );
      });
    }
  }
}

/**
 * Adds own·right to the sums of a tile, where `own` has a value for each of a thread's sums of another
 * tile, [row][column], of which each warp has whole rows: the columns are the steps. So they pass
 * through no memory. The sums are of `asSums`.
 */
export function addOwnProduct(
  k: GpuBlock,
  room: Stretches,
  sums: TensorSums,
  own: readonly (readonly Float[])[],
  b: Side,
): void {
  const { right } = sums;
  const staged = { stage: staging(k, room, b, own[0].length * QUAD, right), at: 0 };
  const rounded = own.map((row) => row.map((value) => k.tf32(value)));
  eachWrittenStretch(k, room, staged, right.size, own[0].length * QUAD, (from, buffer) => {
    const first = from / QUAD;
    multiply(k, sums, rounded.map((row) => row.slice(first, first + QUAD)), buffer);
  });
}

/** Elements of a thread that are handled together, so that what they read arrives together. */
const TOGETHER = 2;

/**
 * Hands every element of a tile to a thread, as `eachElement` of tile_store.ts does: 16 rows of every
 * warp at a time.
 */
export function eachTensorElement(
  k: GpuBlock,
  room: Stretches,
  { warps, tiles, left, right, down, x, y }: TensorSums,
  visit: (elements: readonly TileElement[]) => void,
): void {
  const columns = right.groups * GROUP * warps.across;
  const pitch = columns + ROW_APART;
  const own = k.let(rem(k.thread, i32(columns)));
  const ownRow = k.let(div(k.thread, i32(columns)));
  const step = TILE_THREADS / columns;
  const count = warps.down * 2 * GROUP / step;
  const together = Math.min(TOGETHER, count);
  // Rows of a part: [warp][half of a product][row].
  const place = k.let(mul(add(mul(down, i32(2 * GROUP)), x), i32(pitch)));
  tiles.forEach((line, part) => {
    if (part > 0) k.barrier();
    for (const half of [0, 1]) {
      for (const column of [0, 1]) {
        const index = k.let(add(mul(y, i32(2)), i32(column)));
        for (let c = 0; c < line.length; c += right.together) {
          const sums = line.slice(c, c + right.together).map((four) => four[2 * half + column]);
          const at = k.let(add(add(place, i32(half * GROUP * pitch)), right.line(c, index)));
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
