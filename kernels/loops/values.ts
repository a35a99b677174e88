/** The values of a loop (graph/loop.ts) at one row, for any target: CPU lanes or GPU threads. */

import type { Loop, Source } from "../../graph/loop.ts";
import type { Op } from "../../graph/tensor.ts";
import type { Binder } from "../language/block.ts";
import {
  abs,
  add,
  constant,
  div,
  equal,
  i32,
  lessThan,
  max,
  min,
  mul,
  neg,
  rem,
  select,
  sqrt,
  sub,
} from "../language/language.ts";
import type { Expr, Vector } from "../language/syntax.ts";
import { exp, log, sigmoid, tanh } from "../language/math.ts";

/** Types of real numbers: one, or a vector of lanes. */
export type Real = "f32" | Vector;

/** Whether an operation is worth keeping its result rather than computing it again. */
export function isCostly(op: Op): boolean {
  return op.kind === "unary" && !["copy", "neg", "abs"].includes(op.fn) ||
    op.kind === "binary" && op.fn === "div";
}

/** Applies a pointwise operation. */
function apply<T extends Real>(k: Binder, op: Op, args: readonly Expr<T>[]): Expr<T> {
  const [a, b, c] = args;
  const one = constant(a.type, 1) as Expr<T>;
  const zero = constant(a.type, 0) as Expr<T>;
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
          return select(equal(a, b), one, zero);
        default:
          return op satisfies never;
      }
    case "select":
      return select(equal(a, zero), c, b);
    default:
      throw new Error(`loop body: ${op.kind} is not pointwise`);
  }
}

/** How a target reads what a loop's values are made of. */
export interface Reader<T extends Real, P> {
  /** The type of a row's values. */
  readonly type: T;
  /** The type of the values at a position. */
  typeAt(at: P): T;
  /** A row's value as one of a position's type. */
  narrowed(value: Expr<T>, at: P): Expr<T>;
  /** An operand that is the same along the row. */
  rowOperand(index: number): Expr<T>;
  /** An operand at a position of the row. */
  operand(index: number, at: P): Expr<T>;
  /** The column numbers of a position. */
  columns(at: P): Expr<T>;
}

/** Where in a row values are wanted. */
export interface Given<T extends Real> {
  /** Values that need no computing here. */
  readonly given?: (value: number) => Expr<T> | undefined;
}

/** The values at a position. */
export interface Columns<T extends Real> {
  value(index: number): Expr<T>;
  source(source: Source): Expr<T>;
}

/** The values of one row. */
export interface Row<T extends Real, P> {
  /** A row value; computed at the first call, which must not be inside a walk over columns. */
  value(index: number): Expr<T>;
  /** Tells the result of a reduction. */
  know(index: number, value: Expr<T>): void;
  at(position: P): Columns<T>;
}

/** The values of a row. Row operands are read here, once; one operand may be given instead. */
export function loopValues<T extends Real, P extends Given<T>>(
  k: Binder,
  loop: Loop,
  reader: Reader<T, P>,
  given?: { readonly operand: number; readonly value: Expr<T> },
): Row<T, P> {
  const rowOperands = loop.operands.map((operand, i) =>
    i === given?.operand
      ? given.value
      : operand.level === "row"
      ? k.let(reader.rowOperand(i))
      : undefined
  );
  const rowValues = new Map<number, Expr<T>>();
  const rowSource = (source: Source): Expr<T> => {
    switch (source.kind) {
      case "constant":
        return constant(reader.type, source.value);
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
  const row: Row<T, P> = {
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
      const type = reader.typeAt(position);
      const operands = new Map<number, Expr<T>>();
      const values = new Map<number, Expr<T>>();
      const columns: Columns<T> = {
        source: (source) => {
          if (source.kind === "value") return columns.value(source.index);
          if (source.kind === "column") return k.let(reader.columns(position));
          if (source.kind === "constant") return constant(type, source.value);
          const ofRow = rowOperands[source.index];
          if (ofRow !== undefined) return reader.narrowed(ofRow, position);
          const held = operands.get(source.index);
          if (held !== undefined) return held;
          const read = k.let(reader.operand(source.index, position));
          operands.set(source.index, read);
          return read;
        },
        value: (index) => {
          if (loop.values[index].level === "row") {
            return reader.narrowed(row.value(index), position);
          }
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

/** Sums the offsets of a row along its axes; strides are multiplied by `unit`. */
export function rowOffsets(
  k: Binder,
  rows: readonly number[],
  row: Expr<"i32">,
  unit: number,
): (strides: readonly number[]) => Expr<"i32"> {
  const index: Expr<"i32">[] = [];
  let inner = 1;
  for (let d = rows.length - 1; d >= 0; d--) {
    const over = div(row, i32(inner));
    index[d] = d === 0 ? over : rem(over, i32(rows[d]));
    inner *= rows[d];
  }
  const bound = new Map<number, Expr<"i32">>();
  return (strides) => {
    let sum = i32(0);
    strides.forEach((stride, d) => {
      if (stride === 0) return;
      if (!bound.has(d)) bound.set(d, k.let(index[d]));
      sum = add(mul(bound.get(d)!, i32(stride * unit)), sum);
    });
    return sum;
  };
}
