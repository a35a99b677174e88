/**
 * Products of tiles: a group multiplies rows by columns along a length, which it walks in stretches
 * that lie in shared memory, while the next is on its way. 16×16 threads sum a block each in
 * registers, of 8×8 in the largest tile: 16 numbers from shared memory for 64 products.
 */

import { add, div, fma, i32, mul, rem } from "../../language/language.ts";
import type { GpuBlock } from "../block.ts";
import { f32, type Float, type Index, type Place } from "../language.ts";
import {
  eachStretch,
  LANES,
  type SharedSide,
  type Side,
  type Staged,
  staging,
  type Steps,
  type Stretches,
  turned,
  turnOf,
} from "./stretches.ts";

export {
  LANES,
  type SharedSide,
  type Side,
  type Steps,
  type Stretches,
  stretches,
  TILE_THREADS,
} from "./stretches.ts";

/** A thread's block of a tile: sums, and where each lies. */
export interface Sums {
  readonly values: readonly (readonly Float[])[];
  /** Row and column in the tile. */
  row(r: number): Index;
  column(c: number): Index;
}

const blockOf = (k: GpuBlock, rows: number, columns: number): Float[][] => {
  const each = (lines: number) => Array.from({ length: lines / LANES }, (_, i) => i);
  return each(rows).map(() => each(columns).map(() => k.variable(f32(0))));
};

/** Sums of a tile, zeros at first. Threads side by side have columns side by side. */
export function tileSums(k: GpuBlock, rows: number, columns: number): Sums {
  const [x, y] = [k.let(rem(k.thread, i32(LANES))), k.let(div(k.thread, i32(LANES)))];
  return {
    values: blockOf(k, rows, columns),
    row: (r) => add(y, i32(r * LANES)),
    column: (c) => add(x, i32(c * LANES)),
  };
}

/** Lines of each lane that are neighbours. */
export const QUAD = 4;

/** Lines that lanes have in fours; the rest they have one by one. */
export const linesInQuads = (lines: number): number => lines - lines % (QUAD * LANES);

/** The line of a tile that is a lane's at an index. */
function lineOf(lines: number, lane: Index, index: number): Index {
  const first = linesInQuads(lines);
  const inQuads = first / LANES;
  return index < inQuads
    ? add(mul(lane, i32(QUAD)), i32((index - index % QUAD) * LANES + index % QUAD))
    : add(lane, i32(first + (index - inQuads) * LANES));
}

/** Sums of a product, zeros at first: rows and columns of a thread in fours that are neighbours. */
export function productSums(k: GpuBlock, rows: number, columns: number): Sums {
  const [x, y] = [k.let(rem(k.thread, i32(LANES))), k.let(div(k.thread, i32(LANES)))];
  return sumsOf(k, rows, columns, x, y);
}

/** Sums of a product, of threads of which 32 side by side have a square. */
export interface SquareSums extends Sums {
  /** The thread's of the 16 lanes along the rows. */
  readonly lane: Index;
}

/** Threads side by side of which 8×4 have columns and rows that are neighbours. */
const [WIDTH, SQUARE] = [8, 32];

/**
 * As `productSums`, but that 32 threads side by side read four lines of 8 columns and of 4 rows at
 * once, not of 16 and 2: that is 128 bytes of shared memory, which it gives in a clock.
 */
export function squareSums(k: GpuBlock, rows: number, columns: number): SquareSums {
  const [square, own] = [k.let(div(k.thread, i32(SQUARE))), k.let(rem(k.thread, i32(SQUARE)))];
  const [across, down] = [LANES / WIDTH, SQUARE / WIDTH];
  const x = k.let(add(rem(own, i32(WIDTH)), mul(rem(square, i32(across)), i32(WIDTH))));
  const y = k.let(add(div(own, i32(WIDTH)), mul(div(square, i32(across)), i32(down))));
  return { ...sumsOf(k, rows, columns, x, y), lane: y };
}

function sumsOf(k: GpuBlock, rows: number, columns: number, x: Index, y: Index): Sums {
  return {
    values: blockOf(k, rows, columns),
    row: (r) => lineOf(rows, y, r),
    column: (c) => lineOf(columns, x, c),
  };
}

/** Calls `visit` with every sum of a thread. */
export function eachSum(
  { values }: Sums,
  visit: (sum: Float, r: number, c: number) => void,
): void {
  values.forEach((row, r) => row.forEach((sum, c) => visit(sum, r, c)));
}

/**
 * Puts a value for each sum of a tile into shared memory, [column][row] with columns `pitch` apart, a
 * multiple of 4, where all threads of the group see them.
 */
export function shareTile(
  k: GpuBlock,
  to: Place<"f32">,
  pitch: number,
  sums: Sums,
  value: (sum: Float, r: number, c: number) => Float,
): void {
  const inQuads = linesInQuads(sums.values.length * LANES) / LANES;
  sums.values[0].forEach((_, c) => {
    const column = k.let(mul(sums.column(c), i32(pitch)));
    const values = sums.values.map((row, r) => value(row[c], r, c));
    for (let r = 0; r < inQuads; r += QUAD) {
      const [v0, v1, v2, v3] = values.slice(r);
      k.write4(to, k.let(add(column, sums.row(r))), [v0, v1, v2, v3]);
    }
    for (let r = inQuads; r < values.length; r++) {
      k.write(to, add(column, sums.row(r)), values[r]);
    }
  });
  k.barrier();
}

/** Reads the lines of a lane at a step in shared memory. */
function linesAt(
  k: GpuBlock,
  place: Place<"f32">,
  lines: number,
  lane: (index: number) => Index,
  position: (line: Index) => Index,
): (step: Index) => Float[] {
  const quads = linesInQuads(lines) / LANES / QUAD;
  // Lines are turned within 64, so that fours of a lane stay so far apart.
  const first = k.let(position(lane(0)));
  const ones = Array.from(
    { length: (lines - quads * QUAD * LANES) / LANES },
    (_, i) => quads === 0 && i === 0 ? first : k.let(position(lane(quads * QUAD + i))),
  );
  return (step) => [
    ...Array.from(
      { length: quads },
      (_, q) => k.read4(place, add(add(step, first), i32(q * QUAD * LANES))),
    ).flat(),
    ...ones.map((at) => k.read(place, add(step, at))),
  ];
}

/**
 * Adds left·right along some steps to the sums of a tile. All threads of the group take part; what is
 * shared already must be there for all of them.
 */
export function addProduct(
  k: GpuBlock,
  room: Stretches,
  sums: Sums,
  left: Side | SharedSide,
  right: Side,
  steps: Steps,
): void {
  const { depth } = room;
  const turn = turnOf(room);
  const leftRoom = left.lies === "shared" ? 0 : depth * left.lines;
  const size = leftRoom + depth * right.lines;
  const staged = [left, right].flatMap((side, i): Staged[] =>
    side.lies === "shared"
      ? []
      : [{ stage: staging(k, room, side, steps), at: i === 0 ? 0 : leftRoom }]
  );
  eachStretch(k, room, staged, size, steps, (from, buffer) => {
    const multiply = (first: Index) => {
      const lines = (side: Side | SharedSide, line: (i: number) => Index, at: number) =>
        side.lies === "shared"
          ? linesAt(
            k,
            side.place,
            side.lines,
            line,
            (own) => add(mul(add(from, first), i32(side.pitch)), own),
          )
          : linesAt(k, room.place, side.lines, line, (own) =>
            add(
              add(add(buffer, i32(at)), mul(first, i32(side.lines))),
              turned(k, room, side, own, first),
            ));
      const a = lines(left, sums.row, 0);
      const b = lines(right, sums.column, leftRoom);
      const pitch = left.lies === "shared" ? left.pitch : left.lines;
      k.for(0, turn, 1, (step) => {
        const rows = a(mul(step, i32(pitch)));
        const columns = b(mul(step, i32(right.lines)));
        eachSum(sums, (sum, r, c) => k.set(sum, fma(rows[r], columns[c], sum)));
      }, turn);
    };
    if (turn === depth) multiply(i32(0));
    else k.for(0, depth, turn, multiply, depth / turn);
  });
}
