/** GPU kernels that fold the rows of a loop column by column: gradients of biases and norms. */

import type { ColumnReduction } from "../../graph/fusion.ts";
import type { Step } from "../../graph/step.ts";
import {
  add,
  bitAnd,
  div,
  equal,
  i32,
  lessThan,
  max,
  min,
  mul,
  rem,
} from "../language/language.ts";
import { loopCost, loopKey } from "../loops/loop.ts";
import { oneKernel, type StepKernels } from "../program.ts";
import { gpuKernel } from "./block.ts";
import { foldLanes } from "./fold.ts";
import type { GpuKernel } from "./kernel.ts";
import { f32, type Float, type Index } from "./language.ts";
import { loopOperands, loopRow, THREADS } from "./loop.ts";

/** Columns of a group at most, side by side; the other threads are so many rows. */
const COLUMNS = 32;
/** Rows that one thread folds for itself, where there are elements for many threads. */
const FEW_ROWS = 16;
const MANY_ELEMENTS = 8192;
/** Rows that one group folds in less time than another kernel takes to begin. */
const GROUP_ROWS = 512;
/** Groups that keep a large GPU busy, and rows of one at least. */
const GROUPS = 256;
const ROWS = 64;
/** Rows whose reads are on their way at once. */
const UNROLL = 8;

/** Threads of a group along the columns: a power of 2. */
function acrossOf({ loop: { columns } }: ColumnReduction): number {
  let across = 1;
  while (across < COLUMNS && across < columns) across *= 2;
  return across;
}

/** The blocks that the rows are cut into, and rows of a block. */
interface Blocks {
  readonly blocks: number;
  readonly rows: number;
}

function blocksOf(reduction: ColumnReduction): Blocks {
  const { outer, reduced, loop } = reduction;
  if (reduced <= GROUP_ROWS) return { blocks: 1, rows: reduced };
  const across = acrossOf(reduction);
  const wanted = Math.ceil(GROUPS / (outer * Math.ceil(loop.columns / across)));
  // All threads of a group have a row.
  const least = Math.max(ROWS, THREADS / across);
  const rows = Math.max(least, Math.ceil(reduced / wanted / least) * least);
  return { rows, blocks: Math.ceil(reduced / rows) };
}

const combineOf = (fn: ColumnReduction["fn"]): (a: Float, b: Float) => Float =>
  fn === "max" ? max<"f32"> : add<"f32">;
const startOf = (fn: ColumnReduction["fn"]): Float => f32(fn === "max" ? -Infinity : 0);

/**
 * The kernels of a column reduction. Operands: the loop's, then the result [outer, columns]. Many rows
 * are folded by blocks, [outer, blocks, columns], which are folded in turn.
 */
export function columnsKernels(step: Step, reduction: ColumnReduction): StepKernels<GpuKernel> {
  const { outer, reduced, loop } = reduction;
  const elements = outer * loop.columns;
  if (reduced <= FEW_ROWS && elements >= MANY_ELEMENTS) {
    return oneKernel(step, elementsKernel(reduction));
  }
  const { blocks, rows } = blocksOf(reduction);
  if (blocks === 1) return oneKernel(step, blocksKernel(reduction, { blocks, rows }));
  const { reads: { length: reads } } = step;
  const own = Array.from({ length: reads }, (_, i) => i);
  return {
    kernels: [
      {
        kernel: blocksKernel(reduction, { blocks, rows }),
        ...{ operands: [...own, reads + 1], firstWritten: reads, part: "blocks" },
      },
      {
        kernel: foldKernel(reduction, blocks),
        ...{ operands: [reads + 1, reads], firstWritten: 1, part: "fold" },
      },
    ],
    scratch: [4 * blocks * elements],
  };
}

const rowsCost = (reduction: ColumnReduction) => {
  const { outer, reduced, loop } = reduction;
  const cost = loopCost({ loop, outputs: [] });
  return { flops: cost.flops + outer * reduced * loop.columns, bytes: cost.bytes };
};

const keyOf = ({ fn, outer, reduced, loop }: ColumnReduction) => [
  ...[fn, outer, reduced],
  loopKey({ loop, outputs: [] }),
];

/** One thread a column of all rows. */
function elementsKernel(reduction: ColumnReduction): GpuKernel {
  const { fn, outer, reduced, loop } = reduction;
  const elements = outer * loop.columns;
  const cost = rowsCost(reduction);
  const stored = { loop, outputs: [] };
  const operands = { ...loopOperands(stored), result: "+f32" } as const;
  return {
    key: JSON.stringify(["columns", ...keyOf(reduction)]),
    groups: Math.ceil(elements / THREADS),
    flops: cost.flops,
    bytes: cost.bytes + 4 * elements,
    code: () =>
      gpuKernel("columns", THREADS, operands, (k, places) => {
        const element = k.let(add(mul(k.group, i32(THREADS)), k.thread));
        k.if(lessThan(element, i32(elements)), () => {
          const column = k.let(rem(element, i32(loop.columns)));
          const first = k.let(mul(div(element, i32(loop.columns)), i32(reduced)));
          const sum = k.variable(startOf(fn));
          k.for(first, k.let(add(first, i32(reduced))), 1, (index) => {
            const value = loopRow(k, stored, places, index).values.at({ column });
            k.set(sum, combineOf(fn)(sum, value.value(loop.values.length - 1)));
          }, UNROLL);
          k.write(places.result, element, sum);
        });
      }),
  };
}

/** A group folds some columns of a block of rows: its threads rows each, then what they have. */
function blocksKernel(reduction: ColumnReduction, { blocks, rows }: Blocks): GpuKernel {
  const { fn, outer, reduced, loop } = reduction;
  const stored = { loop, outputs: [] };
  const cost = rowsCost(reduction);
  const across = acrossOf(reduction);
  const down = THREADS / across;
  const parts = Math.ceil(loop.columns / across);
  const operands = { ...loopOperands(stored), result: "+f32" } as const;
  const code = () =>
    gpuKernel("columns", THREADS, operands, (k, places) => {
      const scratch = k.shared("f32", THREADS);
      const block = k.let(div(k.group, i32(parts)));
      const side = k.let(div(k.thread, i32(across)));
      const wanted = k.let(add(
        mul(rem(k.group, i32(parts)), i32(across)),
        rem(k.thread, i32(across)),
      ));
      const exists = k.let(lessThan(wanted, i32(loop.columns)));
      const column = k.let(min(wanted, i32(loop.columns - 1)));
      const first = mul(div(block, i32(blocks)), i32(reduced));
      const begin = mul(rem(block, i32(blocks)), i32(rows));
      const end = k.let(add(first, min(add(begin, i32(rows)), i32(reduced))));
      const sum = k.variable(startOf(fn));
      k.for(k.let(add(add(first, begin), side)), end, down, (index) => {
        const row = loopRow(k, stored, places, index);
        k.set(sum, combineOf(fn)(sum, row.values.at({ column }).value(loop.values.length - 1)));
      }, UNROLL);
      const [total] = foldLanes(k, scratch, down, [sum], combineOf(fn), across);
      k.if(bitAnd(exists, equal(side, i32(0))), () => {
        k.write(
          places.result,
          add(mul(block, i32(loop.columns)), column),
          total,
        );
      });
    });
  return {
    key: JSON.stringify(["columns", blocks, rows, ...keyOf(reduction)]),
    ...{ code, groups: outer * blocks * parts },
    flops: cost.flops,
    bytes: cost.bytes + 4 * outer * blocks * loop.columns,
  };
}

/** Folds blocks [outer, blocks, columns], in their order. Operands: blocks, result. */
function foldKernel({ fn, outer, loop: { columns } }: ColumnReduction, blocks: number): GpuKernel {
  const elements = outer * columns;
  return {
    key: JSON.stringify(["columns_fold", fn, outer, columns, blocks]),
    groups: Math.ceil(elements / FOLD_THREADS),
    flops: (blocks - 1) * elements,
    bytes: 4 * (blocks + 1) * elements,
    code: () =>
      gpuKernel("columns_fold", FOLD_THREADS, { blocks: "f32", result: "+f32" }, (k, places) => {
        const element = k.let(add(mul(k.group, i32(FOLD_THREADS)), k.thread));
        k.if(lessThan(element, i32(elements)), () => {
          const at = (block: Index) =>
            add(
              mul(add(mul(div(element, i32(columns)), i32(blocks)), block), i32(columns)),
              rem(element, i32(columns)),
            );
          const sum = k.variable(startOf(fn));
          k.for(0, blocks, 1, (block) => {
            k.set(sum, combineOf(fn)(sum, k.read(places.blocks, at(block))));
          }, 2 * UNROLL);
          k.write(places.result, element, sum);
        });
      }),
  };
}

/** Threads of a group that folds blocks: there are few columns, for many multiprocessors. */
const FOLD_THREADS = 64;
