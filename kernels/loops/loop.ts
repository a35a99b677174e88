/**
 * Kernels for loops of pointwise operations and row reductions (graph/loop.ts): one pass over the
 * columns for every level of reductions, each value computed in vectors.
 */

import type { LoopOperand } from "../../graph/loop.ts";
import type { StoredLoop } from "../../graph/step.ts";
import { type Block, kernel } from "../language/block.ts";
import { loopLanes } from "./body.ts";
import type { Kernel } from "../kernel.ts";
import { add, constant, div, i32, lane, mul, offset, rem } from "../language/language.ts";
import { isReduce, type Passes, passesOf } from "./passes.ts";
import { emitRow, stretches } from "./row.ts";
import type { Expr, KernelCode, Lanes, ValueType } from "../language/syntax.ts";

/** Columns of one work item where nothing is reduced and rows are long. */
const COLUMN_CHUNK = 2048;

/** What tells two loops apart. */
export function loopKey({ loop, outputs, folds = [], block = 0 }: StoredLoop): unknown {
  return [
    block,
    folds,
    loop.rows,
    loop.columns,
    loop.operands.map((o) => [o.tensor.dtype, o.level, o.strides, o.columnStride]),
    loop.values.map(({ node, op, level, sources, address }, i) => [
      op,
      level,
      sources,
      outputs.includes(i) ? [address.strides, address.columnStride, node.outputs[0].dtype] : 0,
    ]),
  ];
}

/** Operations of a loop, and bytes: what is repeated along an axis is read once. */
export function loopCost(
  { loop, outputs, folds = [], block = 1 }: StoredLoop,
): { flops: number; bytes: number } {
  const rows = loop.rows.reduce((n, size) => n * size, 1);
  const size = (level: "full" | "row") => level === "full" ? rows * loop.columns : rows;
  const read = ({ level, strides, columnStride }: LoopOperand) =>
    loop.rows.reduce((n, size, axis) => strides[axis] === 0 ? n : n * size, 1) *
    (level === "full" && columnStride !== 0 ? loop.columns : 1);
  const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);
  const work = [
    ...loop.values.map((v) => isReduce(v) ? size("full") : size(v.level)),
    ...folds.map(() => size("full")),
  ];
  const sums = folds.map(({ columns }) => columns * rows / block);
  const written = outputs.map((i) => size(loop.values[i].level));
  return {
    flops: sum(work),
    bytes: 4 * sum([...loop.operands.map(read), ...written, ...sums]),
  };
}

/** The kernel of a loop. Operands: the loop's, then its stored values', then its sums. */
export function loopKernel(stored: StoredLoop): Kernel {
  const { loop, folds, block = 1 } = stored;
  const rows = loop.rows.reduce((n, size) => n * size, 1);
  const walksWhole = loop.values.some(isReduce) || loop.columns <= 2 * COLUMN_CHUNK ||
    folds !== undefined;
  const chunk = walksWhole ? loop.columns : COLUMN_CHUNK;
  const passes = passesOf(stored);
  return {
    key: JSON.stringify(["loop", loopKey(stored)]),
    code: (most) => loopCode(stored, passes, chunk, loopLanes(most, loop)),
    items: rows / block * Math.ceil(loop.columns / chunk),
    scratchBytes: passes.kept.size * chunk * 4,
    ...loopCost(stored),
  };
}

/** Pointer parameters for the operands of a loop, its stored values and its sums. */
export function loopParameters(
  { loop, outputs, folds = [] }: StoredLoop,
): Record<string, ValueType> {
  const names = [
    ...loop.operands.map((_, i) => `operand${i}`),
    ...outputs.map((i) => `output${i}`),
    ...folds.map((_, f) => `fold${f}`),
  ];
  return Object.fromEntries(names.map((name) => [name, "ptr" as const]));
}

function loopCode(
  stored: StoredLoop,
  passes: Passes,
  chunk: number,
  lanes: Lanes,
): KernelCode {
  const { loop, folds, block = 1 } = stored;
  const parameters = {
    ...loopParameters(stored),
    scratch: "ptr" as const,
    begin: "i32" as const,
    end: "i32" as const,
  };
  return kernel("loop", parameters, (k, args) => {
    const pointers = args as unknown as Record<string, Expr<"ptr">>;
    k.for(args.begin, args.end, 1, (item) => {
      if (folds !== undefined) {
        const sums = folds.map(({ columns }, f) => {
          const sum = k.let(offset(pointers[`fold${f}`], mul(item, i32(4 * columns))));
          clear(k, sum, columns);
          return sum;
        });
        const first = k.let(mul(item, i32(block)));
        const columns = stretches(k, i32(0), loop.columns, chunk);
        k.for(
          first,
          add(first, i32(block)),
          1,
          (row) => emitRow({ k, stored, passes, pointers, columns }, row, sums),
        );
        return;
      }
      const chunks = i32(Math.ceil(loop.columns / chunk));
      const row = k.let(div(item, chunks));
      const columns = stretches(k, rem(item, chunks), loop.columns, chunk);
      emitRow({ k, stored, passes, pointers, columns }, row, []);
    });
  }, lanes);
}

/** Sets the sums of a block to 0. */
function clear(k: Block, sums: Expr<"ptr">, columns: number): void {
  const whole = columns - columns % 4;
  const zero = constant("f32x4", 0);
  k.for(0, whole * 4, 16, (bytes) => k.store(zero, offset(sums, bytes)));
  for (let c = whole; c < columns; c++) k.store(lane(zero, 0), sums, 4 * c);
}
