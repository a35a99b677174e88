/**
 * Kernels for loops of pointwise operations and row reductions (graph/loop.ts): one pass over the
 * columns for every level of reductions, each value computed in vectors of four.
 */

import type { LoopValue } from "../graph/loop.ts";
import type { StoredLoop } from "../graph/step.ts";
import { loopRow, type Position, rowPointers, storeColumns, targetOf, type V4 } from "./body.ts";
import { type Columns, isCostly, type Row } from "./loop_values.ts";
import {
  acrossLanes,
  add,
  bitAnd,
  type Block,
  constant,
  div,
  type Expr,
  i32,
  kernel,
  type KernelCode,
  load,
  max,
  min,
  mul,
  offset,
  rem,
  splat,
  type ValueType,
} from "./language.ts";
import type { Kernel } from "./kernel.ts";

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
  const { loop: { values }, outputs } = stored;
  const stage: number[] = [];
  for (const value of values) {
    const from = value.sources.map((s) => s.kind === "value" ? stage[s.index] : 0);
    stage.push(Math.max(0, ...from) + (isReduce(value) ? 1 : 0));
  }
  const passOf = (i: number) => isReduce(values[i]) ? stage[i] - 1 : stage[i];
  const wanted = values.flatMap((value, i) =>
    isReduce(value) || (value.level === "full" && outputs.includes(i))
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
export function loopKey({ loop, outputs }: StoredLoop): unknown {
  return [
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

/** Operations and bytes of a loop. */
export function loopCost({ loop, outputs }: StoredLoop): { flops: number; bytes: number } {
  const rows = loop.rows.reduce((n, size) => n * size, 1);
  const size = (level: "full" | "row") => level === "full" ? rows * loop.columns : rows;
  const work = loop.values.map((v) => isReduce(v) ? size("full") : size(v.level));
  const moved = [...loop.operands, ...outputs.map((i) => loop.values[i])];
  const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);
  return { flops: sum(work), bytes: 4 * sum(moved.map(({ level }) => size(level))) };
}

/** The kernel of a loop. Operands: the loop's, then its stored values'. */
export function loopKernel(stored: StoredLoop): Kernel {
  const { loop } = stored;
  const rows = loop.rows.reduce((n, size) => n * size, 1);
  const walksWhole = loop.values.some(isReduce) || loop.columns <= 2 * COLUMN_CHUNK;
  const chunk = walksWhole ? loop.columns : COLUMN_CHUNK;
  const passes = passesOf(stored);
  return {
    key: JSON.stringify(["loop", loopKey(stored)]),
    code: () => loopCode(stored, passes, chunk),
    items: rows * Math.ceil(loop.columns / chunk),
    scratchBytes: passes.kept.size * chunk * 4,
    ...loopCost(stored),
  };
}

/** Pointer parameters for the operands of a loop and for its stored values. */
export function loopParameters({ loop, outputs }: StoredLoop): Record<string, ValueType> {
  const names = [
    ...loop.operands.map((_, i) => `operand${i}`),
    ...outputs.map((i) => `output${i}`),
  ];
  return Object.fromEntries(names.map((name) => [name, "ptr" as const]));
}

function loopCode(stored: StoredLoop, passes: Passes, chunk: number): KernelCode {
  const { loop, outputs } = stored;
  const parameters = {
    ...loopParameters(stored),
    scratch: "ptr" as const,
    begin: "i32" as const,
    end: "i32" as const,
  };
  return kernel("loop", parameters, (k, args) => {
    const pointers = args as unknown as Record<string, Expr<"ptr">>;
    k.for(args.begin, args.end, 1, (item) => {
      const chunks = i32(Math.ceil(loop.columns / chunk));
      const pointer = rowPointers(k, loop.rows, k.let(div(item, chunks)));
      const row = loopRow(
        k,
        loop,
        loop.operands.map((o, i) => pointer(pointers[`operand${i}`], o)),
      );
      const stores = new Map(
        outputs.map((i) => [i, pointer(pointers[`output${i}`], loop.values[i].address)]),
      );
      const columns = columnRange(k, rem(item, chunks), loop.columns, chunk);
      const pass = { k, stored, passes, row, stores, scratch: args.scratch, columns };
      for (let number = 0; number <= passes.count; number++) {
        loop.values.forEach((value, i) => {
          if (value.level !== "row" || passes.stage[i] !== number) return;
          const result = row.value(i);
          const target = stores.get(i) && targetOf(value, stores.get(i)!);
          if (target) storeColumns(k, result, { bytes: i32(0), width: 1 }, target);
        });
        if (number < passes.count) emitPass(pass, number);
      }
    });
  });
}

/** Four times the first column, the first after the last whole vector, and the end. */
interface ColumnRange {
  readonly begin: Expr<"i32">;
  readonly vectors: Expr<"i32">;
  readonly end: Expr<"i32">;
  readonly ragged: boolean;
}

function columnRange(k: Block, part: Expr<"i32">, total: number, chunk: number): ColumnRange {
  const ragged = total % 4 !== 0;
  if (total === chunk) {
    return { begin: i32(0), vectors: i32((total - total % 4) * 4), end: i32(total * 4), ragged };
  }
  const begin = k.let(mul(part, i32(chunk * 4)));
  const end = k.let(min(add(begin, i32(chunk * 4)), i32(total * 4)));
  return { begin, vectors: k.let(bitAnd(end, i32(-16))), end, ragged };
}

interface PassContext {
  readonly k: Block;
  readonly stored: StoredLoop;
  readonly passes: Passes;
  readonly row: Row<"f32x4", Position>;
  readonly stores: ReadonlyMap<number, Expr<"ptr">>;
  readonly scratch: Expr<"ptr">;
  readonly columns: ColumnRange;
}

/** One walk over the columns: computes, keeps, stores and reduces what belongs to the pass. */
function emitPass({ k, stored, passes, row, stores, scratch, columns }: PassContext, pass: number) {
  const { loop: { values, columns: total }, outputs } = stored;
  const { stage, kept } = passes;
  const reductions = values.flatMap((v, i) => isReduce(v) && stage[i] === pass + 1 ? [i] : []);
  const written = outputs.filter((i) => values[i].level === "full" && stage[i] === pass);
  const saved = [...kept.keys()].filter((i) => stage[i] === pass);
  const slot = (i: number) => offset(scratch, kept.get(i)! * total * 4);

  const combine = (i: number) => {
    const { op } = values[i];
    return op.kind === "reduce" && op.fn === "max" ? max<"f32x4"> : add<"f32x4">;
  };
  const accumulator = (i: number) => {
    const held = k.variable("f32x4");
    k.set(held, constant("f32x4", combine(i) === max ? -Infinity : 0));
    return held;
  };
  const wide = new Map(reductions.map((i) => [i, accumulator(i)]));
  const single = new Map(columns.ragged ? reductions.map((i) => [i, accumulator(i)]) : []);

  const walk = (width: 4 | 1) => (bytes: Expr<"i32">) => {
    const read = (pointer: Expr<"ptr">): V4 => {
      const at = offset(pointer, bytes);
      return width === 4 ? load("f32x4", at) : splat(load("f32", at));
    };
    const given = (i: number): V4 | undefined => {
      if (stage[i] >= pass) return undefined;
      if (reloads(stored, i)) return read(stores.get(i)!);
      return kept.has(i) ? read(slot(i)) : undefined;
    };
    const position: Position = { bytes, width, given };
    const at: Columns<"f32x4"> = row.at(position);
    for (const i of saved) {
      storeColumns(k, at.value(i), position, { pointer: slot(i), stride: 1, dtype: "f32" });
    }
    for (const i of written) {
      storeColumns(k, at.value(i), position, targetOf(values[i], stores.get(i)!));
    }
    for (const i of reductions) {
      const held = (width === 4 ? wide : single).get(i)!;
      k.set(held, combine(i)(held, at.source(values[i].sources[0])));
    }
  };
  k.for(columns.begin, columns.vectors, 16, walk(4));
  if (columns.ragged) k.for(columns.vectors, columns.end, 4, walk(1));
  for (const i of reductions) {
    const across = k.let(acrossLanes(wide.get(i)!, k, combine(i)));
    row.know(i, columns.ragged ? k.let(combine(i)(across, single.get(i)!)) : across);
  }
}
