/** One row of a loop's kernel: its passes over stretches of columns, each value in vectors. */

import type { StoredLoop } from "../../graph/step.ts";
import { loopRow, type Position, rowPointers, storeColumns, targetOf, type V } from "./body.ts";
import type { Block } from "../language/block.ts";
import { acrossLanes } from "../language/lanes.ts";
import {
  add,
  bitAnd,
  constant,
  i32,
  lane,
  load,
  max,
  min,
  mul,
  offset,
  splat,
} from "../language/language.ts";
import { isReduce, type Passes, reloads } from "./passes.ts";
import type { Columns, Row } from "./values.ts";
import type { Expr, Lanes, Vector } from "../language/syntax.ts";
import { variable } from "../language/vectors.ts";

/** What the kernel of a loop has for all its rows. */
export interface RowContext {
  readonly k: Block;
  readonly stored: StoredLoop;
  readonly passes: Passes;
  readonly pointers: Readonly<Record<string, Expr<"ptr">>>;
  readonly columns: readonly Stretch[];
}

/** All passes over one row, of whose block `sums` are the sums. */
export function emitRow(
  context: RowContext,
  number: Expr<"i32">,
  sums: readonly Expr<"ptr">[],
): void {
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
export interface Stretch {
  readonly width: Lanes | 1;
  readonly begin: Expr<"i32">;
  readonly end: Expr<"i32">;
}

/** The stretches of a part of the columns: whole vectors, then fours, then single ones. */
export function stretches(
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
