/** Rows of operands [batch, time, heads, width] whose width lies side by side. */

import type { View } from "../../graph/view.ts";
import { add, i32, min, mul } from "../language/language.ts";
import type { GpuBlock } from "./block.ts";
import type { Float, Index, Place } from "./language.ts";
import type { Side } from "./matmul/products.ts";

/** Elements from one batch, time and head to the next. */
export type HeadStrides = readonly [batch: number, time: number, head: number];

/** The strides of a view; its offset is already in the operand's place. */
export const headStrides = ({ strides: [batch, time, head] }: View): HeadStrides => [
  batch,
  time,
  head,
];

/** Strides of a contiguous [batch, time, heads, width]. */
export const contiguousHeads = (time: number, heads: number, width: number): HeadStrides => [
  time * heads * width,
  heads * width,
  width,
];

/** The rows of one batch and head, by time. */
export interface HeadRows {
  readonly place: Place<"f32">;
  /** The element of time 0 and column 0. */
  readonly first: Index;
  readonly stride: number;
}

/** Rows of a head of an operand. */
export function headRows(
  k: GpuBlock,
  place: Place<"f32">,
  [batch, time, head]: HeadStrides,
  b: Index,
  h: Index,
): HeadRows {
  return {
    place,
    first: k.let(add(mul(b, i32(batch)), mul(h, i32(head)))),
    stride: time,
  };
}

/** The place of an element of a row. */
export const elementAt = ({ first, stride }: HeadRows, row: Index, column: Index): Index =>
  add(add(first, mul(row, i32(stride))), column);

/** Reads an element; rows and columns beyond the last are the last. */
function readElement(
  k: GpuBlock,
  rows: HeadRows,
  row: Index,
  column: Index,
  { time, width }: { readonly time: number; readonly width: number },
): Float {
  const inside = k.let(elementAt(rows, min(row, i32(time - 1)), min(column, i32(width - 1))));
  return k.read(rows.place, inside);
}

/** The next multiple of 16. */
export const padded = (size: number): number => Math.ceil(size / 16) * 16;

/** Sizes of rows, and whether four neighbours of a row can be read at once. */
export interface RowSizes {
  readonly time: number;
  readonly width: number;
  readonly wide?: boolean;
}

/** Whether four neighbours of rows that lie so can be read at once, if the operand begins for it. */
export const areWide = (width: number, strides: readonly HeadStrides[]): boolean =>
  [width, ...strides.flat()].every((n) => n % 4 === 0);

/** Reads four neighbours of a row from a multiple of 4 on; what is beyond the last is the last. */
function readFour(
  k: GpuBlock,
  rows: HeadRows,
  row: Index,
  column: Index,
  { time, width }: RowSizes,
): readonly Float[] {
  const inside = elementAt(rows, min(row, i32(time - 1)), min(column, i32(width - 4)));
  return k.read4(rows.place, k.let(inside));
}

/** A side of a product: rows from `first` on as lines, their columns as steps. */
export function linesOfRows(
  k: GpuBlock,
  rows: HeadRows,
  first: Index,
  lines: number,
  sizes: RowSizes,
): Side {
  return {
    lines,
    lies: "along",
    read: (line, step) => readElement(k, rows, add(first, line), step, sizes),
    ...(sizes.wide
      ? { read4: (line, step) => readFour(k, rows, add(first, line), step, sizes) }
      : {}),
  };
}

/** A side of a product: rows from `first` on as steps, their columns as lines. */
export function linesOfColumns(
  k: GpuBlock,
  rows: HeadRows,
  first: Index,
  sizes: RowSizes,
): Side {
  return {
    lines: padded(sizes.width),
    lies: "across",
    read: (line, step) => readElement(k, rows, add(first, step), line, sizes),
    ...(sizes.wide
      ? { read4: (line, step) => readFour(k, rows, add(first, step), line, sizes) }
      : {}),
  };
}
