/**
 * Products of tiles: a group multiplies rows by columns along a length, which it walks in stretches
 * that lie in shared memory. 16×16 threads sum a block each in registers, of 4×4 in the largest tile.
 */

import { add, div, fma, i32, lessThan, min, mul, rem, select, sub } from "../language.ts";
import { f32, type Float, type GpuBlock, type Index, type Place } from "./language.ts";

/** Threads along the rows and along the columns of a tile; those of a row are side by side. */
export const LANES = 16;
/** Threads of a group. */
export const TILE_THREADS = LANES * LANES;
/** Steps along the length that lie in shared memory. */
export const DEPTH = 16;

/** Elements of one side of a product: of `lines` rows or columns, each of the length. */
export interface Side {
  readonly lines: number;
  /** Reads an element; the line may be beyond the last, the step is not beyond the end. */
  read(line: Index, step: Index): Float;
  /** Whether neighbouring steps lie side by side, neighbouring lines do, or all is shared already. */
  readonly lies: "along" | "across" | "shared";
}

/** Products of a thread that are written out one after another: more take drivers long to compile. */
const UNROLLED = 16;

/** Shared memory of the products of a kernel: a stretch of each side, multiples of 16 lines. */
export interface Stretches {
  readonly left: Place<"f32">;
  readonly right: Place<"f32">;
}

/** Room for sides of so many lines at most. The kernel's threads are TILE_THREADS. */
export function stretches(k: GpuBlock, rows: number, columns: number): Stretches {
  const [left, right] = [rows, columns].map((lines) => k.shared("f32", DEPTH * (lines + 1)));
  return { left, right };
}

/** A thread's block of a tile: sums, and where each lies. */
export interface Sums {
  readonly values: readonly (readonly Float[])[];
  /** Row and column in the tile. */
  row(r: number): Index;
  column(c: number): Index;
}

/** Sums of a tile, zeros at first. Threads side by side have columns side by side. */
export function tileSums(k: GpuBlock, rows: number, columns: number): Sums {
  const [x, y] = [k.let(rem(k.thread, i32(LANES))), k.let(div(k.thread, i32(LANES)))];
  const each = (lines: number) => Array.from({ length: lines / LANES }, (_, i) => i);
  return {
    values: each(rows).map(() => each(columns).map(() => k.variable(f32(0)))),
    row: (r) => add(y, i32(r * LANES)),
    column: (c) => add(x, i32(c * LANES)),
  };
}

/** Calls `visit` with every sum of a thread. */
export function eachSum(
  { values }: Sums,
  visit: (sum: Float, r: number, c: number) => void,
): void {
  values.forEach((row, r) => row.forEach((sum, c) => visit(sum, r, c)));
}

/** Copies a stretch of one side into shared memory, [step][line]; zeros beyond the length. */
function stage(
  k: GpuBlock,
  to: Place<"f32">,
  { lines, read, lies }: Side,
  from: Index,
  length: Index | number,
): void {
  if (lies === "shared") return;
  const elements = lines * DEPTH;
  const whole = typeof length === "number" && length % DEPTH === 0;
  const end = typeof length === "number" ? i32(length) : length;
  for (let first = 0; first < elements; first += TILE_THREADS) {
    const element = k.let(add(k.thread, i32(first)));
    const line = k.let(lies === "along" ? div(element, i32(DEPTH)) : rem(element, i32(lines)));
    const step = k.let(lies === "along" ? rem(element, i32(DEPTH)) : div(element, i32(lines)));
    const wanted = k.let(add(from, step));
    const value = whole
      ? read(line, wanted)
      : select(lessThan(wanted, end), read(line, k.let(min(wanted, sub(end, i32(1))))), f32(0));
    k.write(to, add(mul(step, i32(lines + 1)), line), value);
  }
}

/**
 * Adds left·right along a length to the sums of a tile. All threads of the group take part; what is
 * shared already must be there for all of them.
 */
export function addProduct(
  k: GpuBlock,
  room: Stretches,
  sums: Sums,
  left: Side,
  right: Side,
  length: Index | number,
): void {
  const products = sums.values.length * sums.values[0].length;
  const unrolled = Math.min(4, Math.max(1, Math.floor(UNROLLED / products)));
  k.for(0, length, DEPTH, (from) => {
    stage(k, room.left, left, from, length);
    stage(k, room.right, right, from, length);
    k.barrier();
    k.for(0, DEPTH, unrolled, (first) => {
      for (let step = 0; step < unrolled; step++) {
        const at = k.let(add(first, i32(step)));
        const element = (side: Side, place: Place<"f32">, line: Index) =>
          side.lies === "shared"
            ? side.read(line, add(from, at))
            : k.read(place, add(mul(at, i32(side.lines + 1)), line));
        const a = sums.values.map((_, r) => element(left, room.left, sums.row(r)));
        const b = sums.values[0].map((_, c) => element(right, room.right, sums.column(c)));
        eachSum(sums, (sum, r, c) => k.set(sum, fma(a[r], b[c], sum)));
      }
    });
    k.barrier();
  });
}
