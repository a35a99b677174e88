/** The values of a loop (graph/loop.ts) at one row and some columns of it. */

import type { Address, Loop, LoopOperand, LoopValue } from "../../graph/loop.ts";
import type { DType } from "../../graph/tensor.ts";
import type { Block } from "../language/block.ts";
import { gather } from "../language/lanes.ts";
import {
  add,
  div,
  half,
  i32,
  lane,
  load,
  mul,
  offset,
  splat,
  toF32,
  toI32,
  vector,
} from "../language/language.ts";
import type { Expr, Lanes, Vector } from "../language/syntax.ts";
import { type Given, loopValues, type Reader, type Row, rowOffsets } from "./values.ts";

/** Columns of a value, or one value in all lanes. */
export type V = Expr<Vector>;

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
export interface Position extends Given<Vector> {
  /** Four times the column. */
  readonly bytes: Expr<"i32">;
  /** So many columns at once, or one whose value fills four lanes. */
  readonly width: Lanes | 1;
}

/** The address of an operand's or a result's columns at a position. */
function columnAddress(
  pointer: Expr<"ptr">,
  { bytes }: Position,
  stride: number,
): Expr<"ptr"> {
  return stride === 0 ? pointer : offset(pointer, mul(bytes, i32(stride)));
}

/** The type of a position's values. */
const typeAt = ({ width }: Position): Vector => width === 1 ? "f32x4" : `f32x${width}`;

/** The first lanes of a value that is the same in all. */
function narrowed(value: V, type: Vector): V {
  return value.type === type ? value : narrowed(half(value, 0), type);
}

/** Reads an operand at a position, as vectors of a type. */
function readOperand(
  { tensor, columnStride: stride }: LoopOperand,
  pointer: Expr<"ptr">,
  position: Position,
  type: Vector,
): V {
  const at = columnAddress(pointer, position, stride);
  const scalar = (byteOffset: number): Expr<"f32"> =>
    tensor.dtype === "i32" ? toF32(load("i32", at, byteOffset)) : load("f32", at, byteOffset);
  if (stride === 0 || position.width === 1) return splat(scalar(0), type);
  if (stride === 1 && tensor.dtype === "f32") return load(type, at);
  if (position.width !== 4) throw new Error("loop body: scattered columns by more than four");
  const bytes = stride * 4;
  return gather([scalar(0), scalar(bytes), scalar(2 * bytes), scalar(3 * bytes)]);
}

/** The most lanes up to some by which the columns of a loop can be read. */
export function loopLanes(most: Lanes, { operands, columns }: Loop): Lanes {
  const scattered = operands.some(({ tensor, level, columnStride }) =>
    level === "full" && columnStride !== 0 && (columnStride !== 1 || tensor.dtype !== "f32")
  );
  if (scattered) return 4;
  return ([16, 8] as const).find((lanes) => lanes <= most && lanes <= columns) ?? 4;
}

/** Where a result goes. */
export interface Target {
  readonly pointer: Expr<"ptr">;
  readonly stride: number;
  readonly dtype: DType;
}

/** Writes a value of a position. */
export function storeColumns(k: Block, value: V, position: Position, target: Target): void {
  const { pointer, stride, dtype } = target;
  const at = columnAddress(pointer, position, stride);
  if (position.width !== 1 && stride === 1 && dtype === "f32") return k.store(value, at);
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
 * operands are read here, once, as vectors of the block; one operand may be given instead of read.
 */
export function loopRow(
  k: Block,
  loop: Loop,
  pointers: readonly Expr<"ptr">[],
  given?: { readonly operand: number; readonly value: V },
): Row<Vector, Position> {
  const start: Position = { bytes: i32(0), width: 1 };
  const read = (i: number, at: Position, type: Vector) =>
    readOperand(loop.operands[i], pointers[i], at, type);
  const reader: Reader<Vector, Position> = {
    type: k.vector,
    typeAt,
    narrowed: (value, at) => narrowed(value, typeAt(at)),
    rowOperand: (i) => read(i, start, k.vector),
    operand: (i, at) => read(i, at, typeAt(at)),
    columns: columnNumbers,
  };
  return loopValues(k, loop, reader, given);
}

function columnNumbers(position: Position): V {
  const type = typeAt(position);
  const first = splat(toF32(div(position.bytes, i32(4))), type);
  return position.width === 1 ? first : add(first, vector(type, (i) => i));
}
