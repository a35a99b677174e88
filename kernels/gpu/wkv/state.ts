/**
 * The matrix-valued state of a recurrence, or its gradient, in the registers of a group: 16×16 threads
 * hold a block each. Sums along its rows or columns meet in shared memory, in one order.
 */

import { add, fma, i32, lessThan, min, mul, select } from "../../language/language.ts";
import type { GpuBlock } from "../block.ts";
import { elementAt, type HeadRows, padded } from "../heads.ts";
import { f32, type Float, type Index, type Place } from "../language.ts";
import { eachSum, LANES, type Sums, tileSums } from "../matmul/products.ts";

/** Shared memory for partial sums, in elements, that leaves room for other things. */
const PARTIAL_SUMS = 4096;

/** A state [width, width]. */
export interface State {
  readonly width: number;
  readonly sums: Sums;
}

/** A state of zeros. */
export function stateOf(k: GpuBlock, width: number): State {
  return { width, sums: tileSums(k, padded(width), padded(width)) };
}

const exists = ({ width }: State, index: Index): Index => lessThan(index, i32(width));

/** A value for an index of a row or column, zero beyond the last. */
function within(k: GpuBlock, state: State, index: Index, read: (index: Index) => Float): Float {
  if (state.width % LANES === 0) return read(index);
  const value = read(k.let(min(index, i32(state.width - 1))));
  return k.let(select(exists(state, index), value, f32(0)));
}

/** One value for every row of a thread's block. */
export const ofRows = (k: GpuBlock, state: State, read: (row: Index) => Float): Float[] =>
  state.sums.values.map((_, r) => within(k, state, k.let(state.sums.row(r)), read));

/** One value for every column of a thread's block. */
export const ofColumns = (k: GpuBlock, state: State, read: (column: Index) => Float): Float[] =>
  state.sums.values[0].map((_, c) => within(k, state, k.let(state.sums.column(c)), read));

/** The values of one token of an operand. */
export const tokenOf = (k: GpuBlock, rows: HeadRows, token: Index) => (index: Index): Float =>
  k.read(rows.place, elementAt(rows, token, index));

/** Reads a state that begins at an element. */
export function loadState(k: GpuBlock, state: State, from: Place<"f32">, first: Index): void {
  const { sums, width } = state;
  eachSum(sums, (sum, r, c) => {
    const value = within(
      k,
      state,
      k.let(sums.row(r)),
      (row) =>
        within(
          k,
          state,
          k.let(sums.column(c)),
          (column) => k.read(from, add(add(first, mul(row, i32(width))), column)),
        ),
    );
    k.set(sum, value);
  });
}

/** Writes a state from an element on. */
export function storeState(k: GpuBlock, state: State, to: Place<"f32">, first: Index): void {
  const { sums, width } = state;
  eachSum(sums, (sum, r, c) => {
    const [row, column] = [k.let(sums.row(r)), k.let(sums.column(c))];
    const store = () => k.write(to, add(add(first, mul(row, i32(width))), column), sum);
    if (width % LANES === 0) store();
    else k.if(exists(state, row), () => k.if(exists(state, column), store));
  });
}

/** Sums along rows (over columns) or along columns, of as many values as there are. */
export interface Folds {
  /** Every thread's parts, one for every row (or column) of its block. */
  readonly parts: readonly Float[];
  /** Takes the sum of a row (or column); for one of these always the same thread does. */
  readonly give: (index: Index, sum: Float) => void;
}

/** A thread's part of sums along rows (over columns) or columns: of one value an element. */
export function blockSums(
  k: GpuBlock,
  { sums: { values } }: State,
  along: "rows" | "columns",
  value: (sum: Float, r: number, c: number) => readonly [Float, Float],
): Float[] {
  const lines = along === "rows" ? values : values[0];
  const others = along === "rows" ? values[0] : values;
  return lines.map((_, line) => {
    const part = (other: number) => {
      const [r, c] = along === "rows" ? [line, other] : [other, line];
      return value(values[r][c], r, c);
    };
    return others.map((_, other) => other).reduce((total: Float, other) => {
      const [a, b] = part(other);
      return k.let(fma(a, b, total));
    }, f32(0));
  });
}

/** Shared memory of sums of a state, and how many are summed together. */
export function foldRoom(k: GpuBlock, width: number): Place<"f32"> {
  return k.shared("f32", Math.max(PARTIAL_SUMS, LANES * padded(width)));
}

/** Sums values of all threads along the rows or columns of a state, in a fixed order. */
export function foldState(
  k: GpuBlock,
  room: Place<"f32">,
  state: State,
  along: "rows" | "columns",
  folds: readonly Folds[],
): void {
  const { width, sums } = state;
  const lines = padded(width);
  const together = Math.floor(PARTIAL_SUMS / LANES / lines);
  const blockLines = along === "rows" ? sums.values : sums.values[0];
  const line = along === "rows" ? sums.row : sums.column;
  // Row 0 and column 0 of a thread's block are its place among the 16×16.
  const lane = k.let(along === "rows" ? sums.column(0) : sums.row(0));
  for (let first = 0; first < folds.length; first += together) {
    const some = folds.slice(first, first + together);
    const at = (fold: number, lane: Index, index: Index) =>
      add(mul(add(lane, i32(fold * LANES)), i32(lines)), index);
    some.forEach(({ parts }, fold) => {
      blockLines.forEach((_, i) => k.write(room, at(fold, lane, line(i)), parts[i]));
    });
    k.barrier();
    k.if(exists(state, k.thread), () => {
      some.forEach(({ give }, fold) => {
        const sum = k.variable(k.read(room, at(fold, i32(0), k.thread)));
        k.for(1, LANES, 1, (other) => {
          k.set(sum, add(sum, k.read(room, at(fold, other, k.thread))));
        });
        give(k.thread, sum);
      });
    });
    k.barrier();
  }
}
