/** GPU kernels that fold the rows of a loop column by column: gradients of biases and norms. */

import type { ColumnReduction } from "../../graph/fusion.ts";
import { add, bitAnd, div, equal, i32, lessThan, max, min, mul, rem } from "../language.ts";
import { loopCost, loopKey } from "../loop.ts";
import type { GpuKernel } from "./kernel.ts";
import { f32, gpuKernel } from "./language.ts";
import { loopOperands, loopRow } from "./loop.ts";

/** Columns of a group, and rows that are folded side by side: powers of 2. */
const COLUMNS = 16;
const ROWS = 16;

/** The kernel of a column reduction. Operands: the loop's, then the result [outer, columns]. */
export function columnsKernel(reduction: ColumnReduction): GpuKernel {
  const { fn, outer, reduced, loop } = reduction;
  const stored = { loop, outputs: [] };
  const cost = loopCost(stored);
  return {
    key: JSON.stringify(["columns", fn, outer, reduced, loopKey(stored)]),
    code: () => columnsCode(reduction),
    groups: outer * Math.ceil(loop.columns / COLUMNS),
    flops: cost.flops + outer * reduced * loop.columns,
    bytes: cost.bytes + 4 * outer * loop.columns,
  };
}

/** Every thread folds one of 16 rows; then the threads of a column fold theirs in a tree. */
function columnsCode({ fn, reduced, loop }: ColumnReduction) {
  const stored = { loop, outputs: [] };
  const operands = { ...loopOperands(stored), result: "+f32" } as const;
  const blocks = Math.ceil(loop.columns / COLUMNS);
  const combine = fn === "max" ? max<"f32"> : add<"f32">;
  return gpuKernel("columns", COLUMNS * ROWS, operands, (k, places) => {
    const scratch = k.shared("f32", COLUMNS * ROWS);
    const outer = k.let(div(k.group, i32(blocks)));
    const side = k.let(div(k.thread, i32(COLUMNS)));
    const own = add(
      mul(rem(k.group, i32(blocks)), i32(COLUMNS)),
      rem(k.thread, i32(COLUMNS)),
    );
    const wanted = k.let(own);
    const exists = k.let(lessThan(wanted, i32(loop.columns)));
    const column = k.let(min(wanted, i32(loop.columns - 1)));
    const first = k.let(mul(outer, i32(reduced)));
    const sum = k.variable(f32(fn === "max" ? -Infinity : 0));
    k.for(add(first, side), k.let(add(first, i32(reduced))), ROWS, (index) => {
      const row = loopRow(k, stored, places, index);
      k.set(sum, combine(sum, row.values.at({ column }).value(loop.values.length - 1)));
    });
    k.write(scratch, k.thread, sum);
    k.barrier();
    for (let half = ROWS / 2; half >= 1; half /= 2) {
      k.if(lessThan(side, i32(half)), () => {
        const other = k.read(scratch, add(k.thread, i32(half * COLUMNS)));
        k.write(scratch, k.thread, combine(k.read(scratch, k.thread), other));
      });
      k.barrier();
    }
    k.if(bitAnd(exists, equal(side, i32(0))), () => {
      const total = k.read(scratch, k.thread);
      k.write(places.result, add(mul(outer, i32(loop.columns)), column), total);
    });
  });
}
