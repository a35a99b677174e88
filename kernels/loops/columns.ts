/** Kernels that fold the rows of a loop column by column: gradients of biases and norms. */

import type { ColumnReduction } from "../../graph/fusion.ts";
import { loopLanes, loopRow, type Position, rowPointers, storeColumns, type V } from "./body.ts";
import { type Block, kernel } from "../language/block.ts";
import {
  add,
  constant,
  div,
  equal,
  i32,
  max,
  min,
  mul,
  offset,
  rem,
} from "../language/language.ts";
import type { Expr, KernelCode, Lanes, Vector } from "../language/syntax.ts";
import { loopCost, loopKey, loopParameters } from "./loop.ts";
import type { Kernel } from "../kernel.ts";
import { variable } from "../language/vectors.ts";

/** Columns of one work item: a few cache lines where there are items enough, at least one. */
const GROUPS = [64, 32, 16];
const ENOUGH_ITEMS = 4;
const groupOf = (outer: number, columns: number) =>
  GROUPS.find((size) => outer * columns >= ENOUGH_ITEMS * size) ?? 16;
/** Rows folded together before they join the total, which keeps the rounding error small. */
const ROW_BLOCK = 64;

/** The kernel of a column reduction. Operands: the loop's, then the result [outer, columns]. */
export function columnsKernel(reduction: ColumnReduction): Kernel {
  const { fn, outer, reduced, loop } = reduction;
  const stored = { loop, outputs: [] };
  const cost = loopCost(stored);
  return {
    key: JSON.stringify(["columns", fn, outer, reduced, loopKey(stored)]),
    code: (most) => columnsCode(reduction, loopLanes(most, loop)),
    items: outer * Math.ceil(loop.columns / groupOf(outer, loop.columns)),
    scratchBytes: 0,
    flops: cost.flops + outer * reduced * loop.columns,
    bytes: cost.bytes + 4 * outer * loop.columns,
  };
}

function columnsCode(reduction: ColumnReduction, lanes: Lanes): KernelCode {
  const { outer, loop } = reduction;
  const size = groupOf(outer, loop.columns);
  const groups = Math.ceil(loop.columns / size);
  const parameters = {
    ...loopParameters({ loop, outputs: [] }),
    result: "ptr" as const,
    scratch: "ptr" as const,
    begin: "i32" as const,
    end: "i32" as const,
  };
  return kernel("columns", parameters, (k, args) => {
    const pointers = args as unknown as Record<string, Expr<"ptr">>;
    const operands = loop.operands.map((_, i) => pointers[`operand${i}`]);
    k.for(args.begin, args.end, 1, (item) => {
      const at = k.let(outer === 1 ? i32(0) : div(item, i32(groups)));
      const group = k.let(rem(item, i32(groups)));
      const result = k.let(offset(args.result, mul(at, i32(loop.columns * 4))));
      const partial = loop.columns % size;
      const fold = (columns: number) =>
        foldGroup(k, reduction, operands, result, {
          ...{ at, columns },
          first: k.let(mul(group, i32(size * 4))),
        });
      if (partial === 0) fold(size);
      else k.if(equal(group, i32(groups - 1)), () => fold(partial), () => fold(size));
    });
  }, lanes);
}

interface Group {
  readonly at: Expr<"i32">;
  /** Four times the first column. */
  readonly first: Expr<"i32">;
  readonly columns: number;
}

function foldGroup(
  k: Block,
  { fn, reduced, loop }: ColumnReduction,
  operands: readonly Expr<"ptr">[],
  result: Expr<"ptr">,
  { at, first, columns }: Group,
): void {
  const combine = fn === "max" ? max<Vector> : add<Vector>;
  const positions: Position[] = [];
  for (let c = 0; c < columns;) {
    const width = ([16, 8, 4] as const).find((n) => n <= k.lanes && n <= columns - c) ?? 1;
    positions.push({ bytes: k.let(add(first, i32(c * 4))), width });
    c += width;
  }
  const accumulators = () =>
    positions.map(({ width }) => {
      const type: Vector = width === 1 ? "f32x4" : `f32x${width}`;
      return variable(k, constant(type, fn === "max" ? -Infinity : 0));
    });
  const foldRows = (into: readonly V[], from: Expr<"i32">, to: Expr<"i32">) =>
    k.for(from, to, 1, (row) => {
      const pointer = rowPointers(k, loop.rows, row);
      const values = loopRow(k, loop, loop.operands.map((o, i) => pointer(operands[i], o)));
      positions.forEach((position, p) => {
        const value = values.at(position).value(loop.values.length - 1);
        k.set(into[p], combine(into[p], value));
      });
    });
  const begin = k.let(mul(at, i32(reduced)));
  const end = k.let(add(begin, i32(reduced)));
  const totals = accumulators();
  if (reduced <= 2 * ROW_BLOCK) foldRows(totals, begin, end);
  else {
    k.for(begin, end, ROW_BLOCK, (from) => {
      const parts = accumulators();
      foldRows(parts, from, k.let(min(add(from, i32(ROW_BLOCK)), end)));
      totals.forEach((total, p) => k.set(total, combine(total, parts[p])));
    });
  }
  const target = { pointer: result, stride: 1, dtype: "f32" } as const;
  positions.forEach((position, p) => storeColumns(k, totals[p], position, target));
}
