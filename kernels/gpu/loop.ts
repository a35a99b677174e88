/**
 * GPU kernels for loops of pointwise operations and row reductions: one thread an element, or a
 * power of 2 of threads a row, whose sums meet in a tree, always in the same order.
 */

import type { Address } from "../../graph/loop.ts";
import type { StoredLoop } from "../../graph/step.ts";
import type { DType } from "../../graph/tensor.ts";
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
  select,
  toF32,
  toI32,
} from "../language/language.ts";
import { loopCost, loopKey } from "../loops/loop.ts";
import { isReduce, type Passes, passesOf, reloads } from "../loops/passes.ts";
import { type Given, loopValues, type Row, rowOffsets } from "../loops/values.ts";
import { type GpuBlock, gpuKernel, type OperandTypes } from "./block.ts";
import { foldLanes } from "./fold.ts";
import type { GpuKernel } from "./kernel.ts";
import { f32, type Float, type Index, type Place, type Scalar } from "./language.ts";

/** Threads of a group. */
export const THREADS = 256;
/** Groups of a loop beyond which it is no small one: two for each processor of a large GPU. */
const SMALL = 264;
/** Columns of a row that one thread takes before more threads share it. */
const COLUMNS_PER_THREAD = 4;

const count = (sizes: readonly number[]) => sizes.reduce((n, size) => n * size, 1);

/** The type of a tensor's elements; stored weights are no operands of loops. */
function scalarOf({ dtype }: { readonly dtype: DType }): Scalar {
  if (dtype !== "f32" && dtype !== "i32") throw new Error(`gpu kernel: a loop over ${dtype}`);
  return dtype;
}

/** Operands of a loop, then its stored values. */
export function loopOperands({ loop, outputs }: StoredLoop): OperandTypes {
  return Object.fromEntries([
    ...loop.operands.map(({ tensor }, i) => [`operand${i}`, scalarOf(tensor)] as const),
    ...outputs.map((i) => [`output${i}`, `+${scalarOf(loop.values[i].node.outputs[0])}`] as const),
  ]);
}

/** Where in a row a thread is. */
export interface Position extends Given<"f32"> {
  readonly column: Index;
}

type Places = Readonly<Record<string, Place>>;

/** Reads an element as a real number. */
function readReal(k: GpuBlock, from: Place, at: Index): Float {
  return from.type === "f32"
    ? k.read(from as Place<"f32">, at)
    : toF32(k.read(from as Place<"i32">, at));
}

/** Writes a real number as what the place holds. */
function writeReal(k: GpuBlock, to: Place, at: Index, value: Float): void {
  if (to.type === "f32") k.write(to as Place<"f32">, at, value);
  else k.write(to as Place<"i32">, at, toI32(value));
}

/** One row of a loop: its values, and where what is stored goes. */
export interface LoopRow {
  readonly values: Row<"f32", Position>;
  store(index: number, column: Index, value: Float): void;
  /** Reads a stored value back. */
  reload(index: number, column: Index): Float;
}

/** The row of a loop at an index, in which an operand may be given instead of read. */
export function loopRow(
  k: GpuBlock,
  { loop }: StoredLoop,
  places: Places,
  index: Index,
  given?: { readonly operand: number; readonly value: Float },
): LoopRow {
  const offsets = rowOffsets(k, loop.rows, index, 1);
  const firsts = new Map<string, Index>();
  const at = ({ strides, columnStride }: Address, column: Index): Index => {
    const key = strides.join();
    if (!firsts.has(key)) firsts.set(key, k.let(offsets(strides)));
    return add(firsts.get(key)!, mul(column, i32(columnStride)));
  };
  // Bound where every use sees them.
  [...loop.operands, ...loop.values.map(({ address }) => address)].forEach((a) => at(a, i32(0)));
  const read = (i: number, column: Index) =>
    readReal(k, places[`operand${i}`], at(loop.operands[i], column));
  const values = loopValues<"f32", Position>(k, loop, {
    type: "f32",
    typeAt: () => "f32",
    narrowed: (value) => value,
    rowOperand: (i) => read(i, i32(0)),
    operand: (i, { column }) => read(i, column),
    columns: ({ column }) => toF32(column),
  }, given);
  return {
    values,
    store: (i, column, value) =>
      writeReal(k, places[`output${i}`], at(loop.values[i].address, column), value),
    reload: (i, column) => readReal(k, places[`output${i}`], at(loop.values[i].address, column)),
  };
}

/** The kernel of a loop. Operands: the loop's, then its stored values'. */
export function loopKernel(stored: StoredLoop): GpuKernel {
  const { loop } = stored;
  const rows = count(loop.rows);
  const key = JSON.stringify(["loop", loopKey(stored)]);
  const own = (groups: number) => ({
    ...{ key, groups, joins: groups <= SMALL },
    ...loopCost(stored),
  });
  if (!loop.values.some(isReduce)) {
    const groups = Math.ceil(rows * loop.columns / THREADS);
    return { ...own(groups), code: () => elementCode(stored, rows) };
  }
  const lanes = lanesOf(loop.columns);
  const groups = Math.ceil(rows * lanes / THREADS);
  return { ...own(groups), code: () => rowCode(stored, rows, lanes) };
}

/** One thread an element. */
function elementCode(stored: StoredLoop, rows: number) {
  const { loop: { columns, values }, outputs } = stored;
  return gpuKernel("loop", THREADS, loopOperands(stored), (k, places) => {
    const element = k.let(add(mul(k.group, i32(THREADS)), k.thread));
    k.if(lessThan(element, i32(rows * columns)), () => {
      const column = k.let(rem(element, i32(columns)));
      const row = loopRow(k, stored, places, k.let(div(element, i32(columns))));
      const at = row.values.at({ column });
      for (const i of outputs) {
        const value = at.value(i);
        if (values[i].level === "full") row.store(i, column, value);
        else k.if(equal(column, i32(0)), () => row.store(i, i32(0), value));
      }
    });
  });
}

/** Threads of a row: a power of 2. */
function lanesOf(columns: number): number {
  let lanes = 1;
  while (lanes < THREADS && lanes * COLUMNS_PER_THREAD < columns) lanes *= 2;
  return lanes;
}

function rowCode(stored: StoredLoop, rows: number, lanes: number) {
  const { loop: { columns, values }, outputs } = stored;
  const passes: Passes = passesOf(stored);
  const { stage } = passes;
  return gpuKernel("loop", THREADS, loopOperands(stored), (k, places) => {
    const most = Math.max(
      ...stage.map((at) => values.filter((v, i) => isReduce(v) && stage[i] === at).length),
    );
    const scratch = k.shared("f32", THREADS * most);
    const perGroup = THREADS / lanes;
    const lane = k.let(rem(k.thread, i32(lanes)));
    const wanted = k.let(add(mul(k.group, i32(perGroup)), div(k.thread, i32(lanes))));
    // Threads beyond the last row walk with it, and store nothing.
    const exists = k.let(lessThan(wanted, i32(rows)));
    const row = loopRow(k, stored, places, k.let(min(wanted, i32(rows - 1))));
    const end = k.let(select(exists, i32(columns), i32(0)));
    const writes = k.let(bitAnd(exists, equal(lane, i32(0))));
    for (let pass = 0; pass <= passes.count; pass++) {
      values.forEach((value, i) => {
        if (value.level !== "row" || stage[i] !== pass) return;
        const result = row.values.value(i);
        if (outputs.includes(i)) k.if(writes, () => row.store(i, i32(0), result));
      });
      if (pass === passes.count) break;
      const folded = values.flatMap((v, i) => isReduce(v) && stage[i] === pass + 1 ? [i] : []);
      const written = outputs.filter((i) => values[i].level === "full" && stage[i] === pass);
      const combine = (i: number) => {
        const { op } = values[i];
        return op.kind === "reduce" && op.fn === "max" ? max<"f32"> : add<"f32">;
      };
      const sums = folded.map((i) => k.variable(f32(combine(i) === max ? -Infinity : 0)));
      k.for(lane, end, lanes, (column) => {
        // What this thread stored in an earlier pass it need not compute again.
        const given = (i: number) =>
          stage[i] < pass && reloads(stored, i) ? row.reload(i, column) : undefined;
        const at = row.values.at({ column, given });
        for (const i of written) row.store(i, column, at.value(i));
        folded.forEach((i, s) => {
          k.set(sums[s], combine(i)(sums[s], at.source(values[i].sources[0])));
        });
      });
      const results = foldLanes(k, scratch, lanes, sums, (a, b, s) => combine(folded[s])(a, b));
      folded.forEach((i, s) => row.values.know(i, results[s]));
    }
  });
}
