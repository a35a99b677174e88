/** The sums that the threads of columns have, put together for each column and stored. */

import { add, div, equal, i32, lessThan, mul, rem, select } from "../../language/language.ts";
import type { GpuBlock } from "../block.ts";
import { foldSubgroups } from "../fold.ts";
import { f32, type Float, type Index } from "../language.ts";
import type { Column, ColumnPlan } from "./columns.ts";

/** Stores a sum, by the number of the value among those of a thread and by the column. */
type Store = (value: Index, column: Index, sum: Float) => void;

/** Values of a thread that are folded by subgroups: with more, shared memory takes less. */
const FEW = 4;

/** Adds up what the threads of every column have, each value on its own; a thread stores each sum. */
export function foldColumns(
  k: GpuBlock,
  plan: ColumnPlan,
  values: readonly Float[],
  column: Column,
  store: Store,
): void {
  const inParts = () => foldInParts(k, plan, values, column, store);
  if (values.length > FEW) return inParts();
  k.bySubgroups((subgroup) => {
    const scratch = k.shared("f32", values.length * k.threads);
    for (const lanes of column.threads) {
      foldSubgroups(k, subgroup, scratch, lanes, values, (a, b) => add(a, b));
    }
    // The first threads of a column store a sum each.
    k.if(lessThan(column.lane, i32(values.length)), () => {
      const [first, ...more] = values;
      const sum = more.reduce(
        (sum, value, i) => select(equal(column.lane, i32(i + 1)), value, sum),
        first,
      );
      store(column.lane, column.column, k.let(sum));
    });
  }, inParts);
}

/** Each sum is made of parts by threads of their own, of as many terms as there are parts. */
function foldInParts(
  k: GpuBlock,
  { lanes, columns }: ColumnPlan,
  values: readonly Float[],
  { lane, column }: Column,
  store: Store,
): void {
  const parts = 2 ** Math.floor(Math.log2(lanes) / 2);
  const terms = lanes / parts;
  const together = Math.min(values.length, terms);
  const scratch = k.shared("f32", together * k.threads);
  const own = k.let(add(mul(column, i32(lanes)), lane));
  const sumOf = (count: number, at: (i: number) => Index) =>
    Array.from({ length: count }, (_, i) => k.read(scratch, at(i))).reduce((a, b) => add(a, b));
  for (let from = 0; from < values.length; from += together) {
    const some = values.slice(from, from + together);
    const sums = some.length * columns;
    if (from > 0) k.barrier();
    some.forEach((value, i) => k.write(scratch, add(own, i32(i * k.threads)), value));
    k.barrier();
    const part = k.variable(f32(0));
    k.if(lessThan(k.thread, i32(sums * parts)), () => {
      const of = mul(div(k.thread, i32(parts)), i32(lanes));
      const begin = k.let(add(of, rem(k.thread, i32(parts))));
      k.set(part, sumOf(terms, (i) => add(begin, i32(i * parts))));
    });
    k.barrier();
    k.write(scratch, k.thread, part);
    k.barrier();
    k.if(lessThan(k.thread, i32(sums)), () => {
      const begin = k.let(mul(k.thread, i32(parts)));
      const sum = k.let(sumOf(parts, (i) => add(begin, i32(i))));
      const value = add(div(k.thread, i32(columns)), i32(from));
      store(k.let(value), k.let(rem(k.thread, i32(columns))), sum);
    });
  }
}
