/**
 * A block of queries of one head over blocks of keys, with a running maximum and sum (Dao et al.,
 * FlashAttention).
 */

import {
  add,
  constant,
  div,
  equal,
  fma,
  i32,
  lessThan,
  max,
  mul,
  select,
  sub,
} from "../../language/language.ts";
import { exp2, log } from "../../language/math.ts";
import type { AttentionProducts } from "./products.ts";
import type { GpuBlock } from "../block.ts";
import { f32, type Float, type Index } from "../language.ts";
import { foldLanes } from "../fold.ts";
import { eachSum, LANES, type Side, type Sums } from "../matmul/products.ts";

/** Less than any score, and still a number. */
const HIDDEN = -1e30;

/** What a block of queries reads and writes. */
export interface FlashBlock {
  readonly width: number;
  readonly scale: number;
  /** Queries, as lines. */
  readonly queries: Side;
  /** Keys from one on, as lines; values from one on, as columns. */
  readonly keys: (first: Index) => Side;
  readonly values: (first: Index) => Side;
  /** The first block of keys and the end of the last, and the keys of a block. */
  readonly begin: Index;
  readonly end: Index;
  readonly step: number;
  /** Whether a query of the block sees a key. */
  readonly sees: (query: Index, key: Index) => Index;
  /** Whether a query of the block is there. */
  readonly exists: (query: Index) => Index;
  readonly store: (query: Index, column: Index, value: Float) => void;
  readonly storeNorm?: (query: Index, logSumExp: Float) => void;
}

/** Attends with one block of queries. All threads of the group take part. */
export function flash<S extends Sums>(
  k: GpuBlock,
  products: AttentionProducts<S>,
  of: FlashBlock,
): void {
  const { lanes, scratch } = products;
  const { width, scale } = of;
  const [scores, out] = [products.scores(), products.mixed()];
  const each = scores.values.map((_, r) => r);
  const tops = each.map(() => k.variable(f32(HIDDEN)));
  const sums = each.map(() => k.variable(f32(0)));
  const fold = (values: readonly Float[], combine: (a: Float, b: Float) => Float) =>
    foldLanes(k, scratch, lanes, values, combine);

  k.for(of.begin, of.end, of.step, (firstKey) => {
    eachSum(scores, (sum) => k.set(sum, f32(0)));
    products.addScores(scores, of.queries, of.keys(firstKey), width);
    const seen = scores.values.map((row, r) =>
      row.map((_, c) => k.let(of.sees(scores.row(r), add(firstKey, scores.column(c)))))
    );
    eachSum(scores, (sum, r, c) => {
      k.set(sum, select(seen[r][c], mul(sum, f32(scale * Math.LOG2E)), f32(HIDDEN)));
    });
    const own = scores.values.map((row) => k.let(row.reduce((a, b) => max(a, b))));
    const highest = fold(own, max).map((top, r) => k.let(max(top, tops[r])));
    highest.forEach((top, r) => {
      const shrink = k.let(exp2(k.let(sub(tops[r], top)), k));
      k.set(tops[r], top);
      k.set(sums[r], mul(sums[r], shrink));
      out.values[r].forEach((sum) => k.set(sum, mul(sum, shrink)));
    });
    const weightOf = (score: Float, r: number, c: number) => {
      const weight = exp2(k.let(sub(score, tops[r])), k);
      const value = k.let(select(seen[r][c], weight, f32(0)));
      k.set(sums[r], add(sums[r], value));
      return value;
    };
    products.addMixed(out, scores, weightOf, of.values(firstKey));
  });

  const totals = fold(sums, add);
  out.values.forEach((values, r) => {
    const query = k.let(out.row(r));
    k.if(of.exists(query), () => {
      const factor = k.let(div(f32(1), totals[r]));
      values.forEach((sum, c) => {
        const column = k.let(out.column(c));
        const store = () => of.store(query, column, mul(sum, factor));
        if (width % LANES === 0) store();
        else k.if(lessThan(column, i32(width)), store);
      });
      k.if(equal(out.column(0), i32(0)), () => {
        of.storeNorm?.(query, fma(tops[r], constant("f32", Math.LN2), log(totals[r], k)));
      });
    });
  });
}
