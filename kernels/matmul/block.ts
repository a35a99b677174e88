/** A block of a product's result, and the loops over its panels, its tiles and slices of k. */

import type { Block } from "../language/block.ts";
import { add, i32, lessThan, min, sub } from "../language/language.ts";
import type { Index, Pointer } from "../language/vectors.ts";
import { ROWS } from "../products.ts";
import { panelColumns } from "./packing.ts";
import type { ProductTarget } from "./result.ts";
import type { Blocking } from "./shape.ts";

/** What every part of the code needs. */
export interface Context extends ProductTarget {
  readonly k: Block;
  readonly blocking: Blocking;
  readonly packedA: Pointer;
  readonly packedB: Pointer;
  readonly sums: Pointer;
  /** A panel's columns of stored weights as f32. */
  readonly expanded: Pointer;
}

/** A block of the result: one work item. */
export interface ResultBlock {
  readonly a: Pointer;
  readonly b: Pointer;
  readonly batch: Index;
  readonly firstRow: Index;
  readonly firstColumn: Index;
}

/** Runs `body` for every full panel of a block's columns and for a partial last one. */
export function forPanels(
  { k, shape: { n }, blocking }: Context,
  { firstColumn }: ResultBlock,
  body: (column: Index, columns: number) => void,
): void {
  const panel = panelColumns(k);
  const whole = n - n % panel;
  const end = k.let(add(firstColumn, i32(blocking.columns)));
  k.for(firstColumn, min(end, i32(whole)), panel, (column) => body(column, panel));
  if (whole === n) return;
  k.if(lessThan(i32(whole), end), () => body(k.let(i32(whole)), n - whole));
}

/** Runs `tile` for every full tile of a block's rows and for a partial last one. */
export function forTiles(
  { k, shape: { m }, blocking }: Context,
  { firstRow }: ResultBlock,
  tile: (row: Index, rows: number) => void,
): void {
  const whole = m - m % ROWS;
  const end = k.let(add(firstRow, i32(blocking.rows)));
  k.for(firstRow, min(end, i32(whole)), ROWS, (row) => tile(row, ROWS));
  if (whole === m) return;
  k.if(lessThan(i32(whole), end), () => tile(k.let(i32(whole)), m - whole));
}

/**
 * Places of k that are packed of all columns, or rows, before the next ones, where their numbers are
 * neighbours in memory: each line of memory is read once, and in order.
 */
const SLICE = 16;

/** Runs `body` for slices of a stretch of k, given where they begin and their places. */
export function forSlices(
  k: Block,
  count: Index,
  body: (step: Index, places: Index) => void,
): void {
  k.for(0, count, SLICE, (step) => body(step, k.let(min(i32(SLICE), sub(count, step)))));
}
