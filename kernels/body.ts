/** The values of a loop (graph/loop.ts) at one row and some columns of it. */

import type { Address, Loop, LoopOperand, LoopValue, Source } from "../graph/loop.ts";
import type { DType, Op } from "../graph/tensor.ts";
import {
  abs,
  add,
  type Block,
  constant,
  div,
  equalLanes,
  type Expr,
  gather,
  half,
  i32,
  lane,
  type Lanes,
  lessThan,
  load,
  max,
  min,
  mul,
  neg,
  offset,
  rem,
  select,
  splat,
  sqrt,
  sub,
  toF32,
  toI32,
  type Vector,
  vector,
} from "./language.ts";
import { exp, log, sigmoid, tanh } from "./math.ts";

/** Columns of a value, or one value in all lanes. */
export type V = Expr<Vector>;

/** Whether an operation is worth keeping its result rather than computing it again. */
export function isCostly(op: Op): boolean {
  return op.kind === "unary" && !["copy", "neg", "abs"].includes(op.fn) ||
    op.kind === "binary" && op.fn === "div";
}

/** Applies a pointwise operation. */
export function apply(k: Block, op: Op, args: readonly V[]): V {
  const [a, b, c] = args;
  const one = constant(a.type, 1);
  const zero = constant(a.type, 0);
  switch (op.kind) {
    case "unary":
      switch (op.fn) {
        case "copy":
          return a;
        case "neg":
          return neg(a);
        case "abs":
          return abs(a);
        case "exp":
          return exp(a, k);
        case "log":
          return log(a, k);
        case "sqrt":
          return sqrt(a);
        case "reciprocal":
          return div(one, a);
        case "tanh":
          return tanh(a, k);
        case "sigmoid":
          return sigmoid(a, k);
        default:
          return op satisfies never;
      }
    case "binary":
      switch (op.fn) {
        case "add":
          return add(a, b);
        case "sub":
          return sub(a, b);
        case "mul":
          return mul(a, b);
        case "div":
          return div(a, b);
        case "min":
          return min(a, b);
        case "max":
          return max(a, b);
        case "after":
          return a;
        case "less":
          return select(lessThan(a, b), one, zero);
        case "equal":
          return select(equalLanes(a, b), one, zero);
        default:
          return op satisfies never;
      }
    case "select":
      return select(equalLanes(a, zero), c, b);
    default:
      throw new Error(`loop body: ${op.kind} is not pointwise`);
  }
}

/** Gives the address of a row's first column, for operands with strides over the row axes. */
export function rowPointers(
  k: Block,
  rows: readonly number[],
  row: Expr<"i32">,
): (base: Expr<"ptr">, address: Pick<Address, "strides">) => Expr<"ptr"> {
  const index: Expr<"i32">[] = [];
  let inner = 1;
  for (let d = rows.length - 1; d >= 0; d--) {
    const over = div(row, i32(inner));
    index[d] = d === 0 ? over : rem(over, i32(rows[d]));
    inner *= rows[d];
  }
  const bound = new Map<number, Expr<"i32">>();
  return (base, { strides }) => {
    let bytes = i32(0);
    strides.forEach((stride, d) => {
      if (stride === 0) return;
      if (!bound.has(d)) bound.set(d, k.let(index[d]));
      bytes = add(mul(bound.get(d)!, i32(stride * 4)), bytes);
    });
    return k.let(offset(base, bytes));
  };
}

/** Where in a row values are wanted. */
export interface Position {
  /** Four times the column. */
  readonly bytes: Expr<"i32">;
  /** So many columns at once, or one whose value fills four lanes. */
  readonly width: Lanes | 1;
  /** Values that need no computing here. */
  readonly given?: (value: number) => V | undefined;
}

/** The values at a position. */
export interface Columns {
  value(index: number): V;
  source(source: Source): V;
}

/** The values of one row. */
export interface Row {
  /** A row value; computed at the first call, which must not be inside a walk over columns. */
  value(index: number): V;
  /** Tells the result of a reduction. */
  know(index: number, value: V): void;
  at(position: Position): Columns;
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
): Row {
  const start: Position = { bytes: i32(0), width: 1 };
  const rowOperands = loop.operands.map((operand, i) =>
    i === given?.operand
      ? given.value
      : operand.level === "row"
      ? k.let(readOperand(operand, pointers[i], start, k.vector))
      : undefined
  );
  const rowValues = new Map<number, V>();
  const rowSource = (source: Source): V => {
    switch (source.kind) {
      case "constant":
        return constant(k.vector, source.value);
      case "operand":
        return rowOperands[source.index]!;
      case "value":
        return row.value(source.index);
      case "column":
        throw new Error("loop body: a row value that depends on the column");
      default:
        return source satisfies never;
    }
  };
  const row: Row = {
    know: (index, value) => void rowValues.set(index, value),
    value: (index) => {
      const known = rowValues.get(index);
      if (known !== undefined) return known;
      const { op, sources } = loop.values[index];
      const value = k.let(apply(k, op, sources.map(rowSource)));
      rowValues.set(index, value);
      return value;
    },
    at: (position) => {
      const type = typeAt(position);
      const operands = new Map<number, V>();
      const values = new Map<number, V>();
      const columns: Columns = {
        source: (source) => {
          if (source.kind === "value") return columns.value(source.index);
          if (source.kind === "column") return columnNumbers(k, position);
          if (source.kind === "constant") return constant(type, source.value);
          const ofRow = rowOperands[source.index];
          if (ofRow !== undefined) return narrowed(ofRow, type);
          const held = operands.get(source.index);
          if (held !== undefined) return held;
          const operand = loop.operands[source.index];
          const read = k.let(readOperand(operand, pointers[source.index], position, type));
          operands.set(source.index, read);
          return read;
        },
        value: (index) => {
          if (loop.values[index].level === "row") return narrowed(row.value(index), type);
          const held = values.get(index);
          if (held !== undefined) return held;
          const { op, sources } = loop.values[index];
          const value = k.let(position.given?.(index) ?? apply(k, op, sources.map(columns.source)));
          values.set(index, value);
          return value;
        },
      };
      return columns;
    },
  };
  return row;
}

function columnNumbers(k: Block, position: Position): V {
  const type = typeAt(position);
  const first = splat(toF32(div(position.bytes, i32(4))), type);
  return k.let(position.width === 1 ? first : add(first, vector(type, (i) => i)));
}
