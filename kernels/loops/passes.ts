/** The passes over its columns that a loop's kernel takes, and what is kept from one to the next. */

import type { LoopValue } from "../../graph/loop.ts";
import type { StoredLoop } from "../../graph/step.ts";
import { isCostly } from "./values.ts";

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
