/**
 * Kernels for loops of pointwise operations and row reductions (graph/loop.ts): one pass over the
 * columns for every level of reductions, each value computed in vectors.
 */

import type { LoopOperand, LoopValue } from "../graph/loop.ts";
import type { StoredLoop } from "../graph/step.ts";
import {
  loopLanes,
  loopRow,
  type Position,
  rowPointers,
  storeColumns,
  targetOf,
  type V,
} from "./body.ts";
import { acrossLanes } from "./lanes.ts";
import { type Columns, isCostly, type Row } from "./loop_values.ts";
import { type Block, kernel } from "./block.ts";
import {
  add,
  bitAnd,
  constant,
  div,
  i32,
  lane,
  load,
  max,
  min,
  mul,
  offset,
  rem,
  splat,
} from "./language.ts";
import type { Expr, KernelCode, Lanes, ValueType, Vector } from "./syntax.ts";
import type { Kernel } from "./kernel.ts";
import { variable } from "./vectors.ts";

/** Columns of one work item where nothing is reduced and rows are long. */
const COLUMN_CHUNK = 2048;

/** Whether a value of a loop is a reduction. */
export const isReduce = ({ op }: LoopValue) => op.kind === "reduce";

/** What happens in which pass over the columns. */
export interface Passes {
  readonly count: number;
  /** The pass in which a full value is first computed; row values are known before it. */
  readonly stage: readonly number[];
  /** Full values kept in scratch memory for later passes, and their slot. */
  readonly kept: ReadonlyMap<number, number>;
}

/** Whether a later pass can read a value back from where it was stored. */
export function reloads({ loop: { values }, outputs }: StoredLoop, index: number): boolean {
  const { address, node } = values[index];
  return outputs.includes(index) && address.columnStride === 1 && node.outputs[0].dtype === "f32";
}

/** Cuts a loop's work into passes over the columns: one a level of reductions, and the rest. */
export function passesOf(stored: StoredLoop): Passes {
  const { loop: { values }, outputs, folds = [] } = stored;
  const stage: number[] = [];
  for (const value of values) {
    const from = value.sources.map((s) => s.kind === "value" ? stage[s.index] : 0);
    stage.push(Math.max(0, ...from) + (isReduce(value) ? 1 : 0));
  }
  const passOf = (i: number) => isReduce(values[i]) ? stage[i] - 1 : stage[i];
  const wanted = values.flatMap((value, i) =>
    isReduce(value) || (value.level === "full" && outputs.includes(i)) ||
      folds.some((fold) => fold.value === i)
      ? [{ i, pass: passOf(i) }]
      : []
  );
  const count = Math.max(0, ...wanted.map(({ pass }) => pass + 1));
  // From the last pass back: what an earlier pass computes at a cost is kept for later ones.
  const kept = new Map<number, number>();
  for (let pass = count - 1; pass > 0; pass--) {
    const seen = new Set<number>();
    const visit = (i: number) => {
      if (seen.has(i) || values[i].level === "row") return;
      seen.add(i);
      if (stage[i] < pass && reloads(stored, i)) return;
      if (stage[i] < pass && isCostly(values[i].op)) {
        if (!kept.has(i)) {
          kept.set(i, kept.size);
          wanted.push({ i, pass: stage[i] });
        }
        return;
      }
      for (const s of values[i].sources) if (s.kind === "value") visit(s.index);
    };
    for (const { i, pass: at } of [...wanted]) {
      if (at !== pass) continue;
      if (!isReduce(values[i])) visit(i);
      else for (const s of values[i].sources) if (s.kind === "value") visit(s.index);
    }
  }
  return { count, stage, kept };
}

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

interface RowContext {
  readonly k: Block;
  readonly stored: StoredLoop;
  readonly passes: Passes;
  readonly pointers: Readonly<Record<string, Expr<"ptr">>>;
  readonly columns: readonly Stretch[];
}

/** All passes over one row, of whose block `sums` are the sums. */
function emitRow(context: RowContext, number: Expr<"i32">, sums: readonly Expr<"ptr">[]): void {
  const { k, stored, passes, pointers, columns } = context;
  const { loop, outputs, folds = [] } = stored;
  const pointer = rowPointers(k, loop.rows, number);
  const row = loopRow(k, loop, loop.operands.map((o, i) => pointer(pointers[`operand${i}`], o)));
  const stores = new Map(
    outputs.map((i) => [i, pointer(pointers[`output${i}`], loop.values[i].address)]),
  );
  const targets = folds.map((fold, f) => pointer(sums[f], fold));
  const pass = { k, stored, passes, row, stores, targets, scratch: pointers.scratch, columns };
  for (let stage = 0; stage <= passes.count; stage++) {
    loop.values.forEach((value, i) => {
      if (value.level !== "row" || passes.stage[i] !== stage) return;
      const result = row.value(i);
      const target = stores.get(i) && targetOf(value, stores.get(i)!);
      if (target) storeColumns(k, result, { bytes: i32(0), width: 1 }, target);
    });
    if (stage < passes.count) emitPass(pass, stage);
  }
}

/** A stretch of columns that is walked so many at a time; four times the first, and the end. */
interface Stretch {
  readonly width: Lanes | 1;
  readonly begin: Expr<"i32">;
  readonly end: Expr<"i32">;
}

/** The stretches of a part of the columns: whole vectors, then fours, then single ones. */
function stretches(
  k: Block,
  part: Expr<"i32">,
  total: number,
  chunk: number,
): readonly Stretch[] {
  const whole = total === chunk;
  let begin = whole ? i32(0) : k.let(mul(part, i32(chunk * 4)));
  const last = whole ? i32(total * 4) : k.let(min(add(begin, i32(chunk * 4)), i32(total * 4)));
  const found: Stretch[] = [];
  let left = total;
  for (const width of k.lanes === 4 ? [4, 1] as const : [k.lanes, 4, 1] as const) {
    if (left === 0) break;
    left %= width;
    const end = left === 0
      ? last
      : whole
      ? i32((total - left) * 4)
      : k.let(bitAnd(last, i32(-4 * width)));
    found.push({ width, begin, end });
    begin = end;
  }
  return found;
}

interface PassContext {
  readonly k: Block;
  readonly stored: StoredLoop;
  readonly passes: Passes;
  readonly row: Row<Vector, Position>;
  readonly stores: ReadonlyMap<number, Expr<"ptr">>;
  /** Where the row is added to the sums of its block. */
  readonly targets: readonly Expr<"ptr">[];
  readonly scratch: Expr<"ptr">;
  readonly columns: readonly Stretch[];
}

/** One walk over the columns: computes, keeps, stores and reduces what belongs to the pass. */
function emitPass(context: PassContext, pass: number): void {
  const { k, stored, passes, row, stores, targets, scratch, columns } = context;
  const { loop: { values, columns: total }, outputs, folds = [] } = stored;
  const { stage, kept } = passes;
  const reductions = values.flatMap((v, i) => isReduce(v) && stage[i] === pass + 1 ? [i] : []);
  const written = outputs.filter((i) => values[i].level === "full" && stage[i] === pass);
  const saved = [...kept.keys()].filter((i) => stage[i] === pass);
  const slot = (i: number) => offset(scratch, kept.get(i)! * total * 4);

  const combine = (i: number) => {
    const { op } = values[i];
    return op.kind === "reduce" && op.fn === "max" ? max<Vector> : add<Vector>;
  };
  const results = new Map<number, V>();
  for (const { width, begin, end } of columns) {
    const type: Vector = width === 1 ? "f32x4" : `f32x${width}`;
    const held = new Map(reductions.map((i) => {
      const neutral = constant(type, combine(i) === max ? -Infinity : 0);
      return [i, variable(k, neutral)];
    }));
    k.for(begin, end, 4 * width, (bytes) => {
      const read = (pointer: Expr<"ptr">): V => {
        const at = offset(pointer, bytes);
        return width === 1 ? splat(load("f32", at), type) : load(type, at);
      };
      const given = (i: number): V | undefined => {
        if (stage[i] >= pass) return undefined;
        if (reloads(stored, i)) return read(stores.get(i)!);
        return kept.has(i) ? read(slot(i)) : undefined;
      };
      const position: Position = { bytes, width, given };
      const at: Columns<Vector> = row.at(position);
      for (const i of saved) {
        storeColumns(k, at.value(i), position, { pointer: slot(i), stride: 1, dtype: "f32" });
      }
      for (const i of written) {
        storeColumns(k, at.value(i), position, targetOf(values[i], stores.get(i)!));
      }
      folds.forEach(({ value }, f) => {
        if (stage[value] !== pass) return;
        const target = { pointer: targets[f], stride: 1, dtype: "f32" } as const;
        storeColumns(k, add<Vector>(read(targets[f]), at.value(value)), position, target);
      });
      for (const i of reductions) {
        const own = held.get(i)!;
        k.set(own, combine(i)(own, at.source(values[i].sources[0])));
      }
    });
    for (const [i, value] of held) {
      const across = width === 1 ? value : acrossLanes(value, k, combine(i));
      const own = across.type === k.vector ? across : splat(lane(across, 0), k.vector);
      const before = results.get(i);
      results.set(i, k.let(before === undefined ? own : combine(i)(before, own)));
    }
  }
  for (const [i, value] of results) row.know(i, value);
}
