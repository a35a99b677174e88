/** The values of a loop (graph/loop.ts) at one row and four columns of it. */

import type { Address, Loop, LoopOperand, LoopValue } from "../graph/loop.ts";
import type { DType } from "../graph/tensor.ts";
import {
  add,
  type Block,
  div,
  type Expr,
  gather,
  i32,
  lane,
  load,
  mul,
  offset,
  splat,
  toF32,
  toI32,
  vector,
} from "./language.ts";
import { type Given, loopValues, type Row, rowOffsets } from "./loop_values.ts";

/** Four columns of a value, or one value in all four lanes. */
export type V4 = Expr<"f32x4">;

/** Gives the address of a row's first column, for operands with strides over the row axes. */
export function rowPointers(
  k: Block,
  rows: readonly number[],
  row: Expr<"i32">,
): (base: Expr<"ptr">, address: Pick<Address, "strides">) => Expr<"ptr"> {
  const bytes = rowOffsets(k, rows, row, 4);
  return (base, { strides }) => k.let(offset(base, bytes(strides)));
}

/** Where in a row values are wanted. */
export interface Position extends Given<"f32x4"> {
  /** Four times the column. */
  readonly bytes: Expr<"i32">;
  /** Four columns at once, or one whose value fills all lanes. */
  readonly width: 4 | 1;
}

/** The address of an operand's or a result's columns at a position. */
function columnAddress(
  pointer: Expr<"ptr">,
  { bytes }: Position,
  stride: number,
): Expr<"ptr"> {
  return stride === 0 ? pointer : offset(pointer, mul(bytes, i32(stride)));
}

/** Reads an operand at a position. */
function readOperand(
  { tensor, columnStride: stride }: LoopOperand,
  pointer: Expr<"ptr">,
  position: Position,
): V4 {
  const at = columnAddress(pointer, position, stride);
  const scalar = (byteOffset: number): Expr<"f32"> =>
    tensor.dtype === "i32" ? toF32(load("i32", at, byteOffset)) : load("f32", at, byteOffset);
  if (stride === 0 || position.width === 1) return splat(scalar(0));
  if (stride === 1 && tensor.dtype === "f32") return load("f32x4", at);
  const bytes = stride * 4;
  return gather([scalar(0), scalar(bytes), scalar(2 * bytes), scalar(3 * bytes)]);
}

/** Where a result goes. */
export interface Target {
  readonly pointer: Expr<"ptr">;
  readonly stride: number;
  readonly dtype: DType;
}

/** Writes a value of a position. */
export function storeColumns(k: Block, value: V4, position: Position, target: Target): void {
  const { pointer, stride, dtype } = target;
  const at = columnAddress(pointer, position, stride);
  if (position.width === 4 && stride === 1 && dtype === "f32") return k.store(value, at);
  const held = k.let(value);
  for (let i = 0; i < position.width; i++) {
    const element = lane(held, i);
    k.store(dtype === "i32" ? toI32(element) : element, at, i * stride * 4);
  }
}

/** The target of a loop's value, given the address of its row. */
export function targetOf({ node, address }: LoopValue, pointer: Expr<"ptr">): Target {
  return { pointer, stride: address.columnStride, dtype: node.outputs[0].dtype };
}

/**
 * The values of a row: `pointers` are the addresses of every operand's first column in it. Row
 * operands are read here, once; one operand may be given instead of read.
 */
export function loopRow(
  k: Block,
  loop: Loop,
  pointers: readonly Expr<"ptr">[],
  given?: { readonly operand: number; readonly value: V4 },
): Row<"f32x4", Position> {
  const start: Position = { bytes: i32(0), width: 1 };
  const read = (i: number, at: Position) => readOperand(loop.operands[i], pointers[i], at);
  const reader = {
    type: "f32x4",
    rowOperand: (i: number) => read(i, start),
    operand: read,
    columns: columnNumbers,
  } as const;
  return loopValues(k, loop, reader, given);
}

function columnNumbers({ bytes, width }: Position): V4 {
  const first = splat(toF32(div(bytes, i32(4))));
  return width === 1 ? first : add(first, vector(0, 1, 2, 3));
}
