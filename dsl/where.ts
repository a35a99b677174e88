/**
 * `layers.where(predicate)` without the predicate: a function cannot live in plain data, so its
 * answers do. The table holds one bit for every layer of every layer count from 1 to 128 (the
 * deepest known models have 126), count after count, as 2,064 hexadecimal digits.
 */
import { show } from "./problem.ts";

/** Most layers for which a predicate is tabulated. */
export const WHERE_LAYERS = 128;

const BITS = WHERE_LAYERS * (WHERE_LAYERS + 1) / 2;
const DIGITS = BITS / 4;

/** What a predicate answered, or the first thing that went wrong while it was asked. */
export type Tabulation = { readonly table: string } | {
  readonly table: "";
  readonly failed: string;
};

/** Asks a predicate about every layer of every count. */
export function tabulate(predicate: (index: number, count: number) => boolean): Tabulation {
  const digits = new Uint8Array(DIGITS);
  let bit = 0;
  for (let count = 1; count <= WHERE_LAYERS; count++) {
    for (let index = 0; index < count; index++, bit++) {
      const place = `for layer ${index} of ${count}`;
      let answer: unknown;
      try {
        answer = predicate(index, count);
      } catch (error) {
        const message = error instanceof Error ? error.message : show(error);
        return { table: "", failed: `it throws ${place}: ${message.slice(0, 200)}` };
      }
      if (typeof answer !== "boolean") return { table: "", failed: `${show(answer)} ${place}` };
      if (answer) digits[bit >> 2] |= 8 >> (bit & 3);
    }
  }
  return { table: Array.from(digits, (digit) => digit.toString(16)).join("") };
}

/** Whether the predicate said yes to layer `index` of `count` layers, `count` at most 128. */
export function tableHas(table: string, index: number, count: number): boolean {
  const bit = count * (count - 1) / 2 + index;
  return (parseInt(table[bit >> 2], 16) & (8 >> (bit & 3))) !== 0;
}

/** What is wrong with a table, in words for `found`. */
export function tableProblem(table: unknown): string | undefined {
  if (typeof table !== "string") return show(table);
  if (table.length !== DIGITS) return `${table.length} digits in place of ${DIGITS}`;
  return /^[0-9a-f]*$/.test(table) ? undefined : "digits that are not 0–9, a–f";
}
