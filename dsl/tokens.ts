/** Counts of tokens as people write them: `tokens("100M")`. */
import { RecipeError, show } from "./problem.ts";

/** `"2M"`, `"1.5M"`, `"300K"`, `"1B"`, `"4096"` or a plain number. */
export type TokenCount =
  | number
  | `${number}`
  | `${number}K`
  | `${number}M`
  | `${number}B`;

const ZEROS = { "": 0, K: 3, M: 6, B: 9 } as const;

/**
 * The number of tokens that a text like `"1.5M"` says; K, M and B are thousands, millions and
 * (10⁹) billions. Throws RecipeError where it is no whole number of tokens above 0.
 */
export function tokens(count: TokenCount): number {
  const parts = /^(\d+)(?:\.(\d+))?([KMB]?)$/.exec(String(count));
  const value = typeof count === "number" ? count : parts === null ? NaN : shifted(parts);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new RecipeError([{
    path: `tokens(${show(count)})`,
    expected: 'a whole number of tokens such as "300K", "1.5M", "2B" or 4096',
    found: show(count),
  }]);
}

/** Moves the decimal point in the digits themselves: 1.1 × 10⁶ in floating point is not whole. */
function shifted([, whole, fraction = "", unit]: readonly string[]): number {
  const zeros = ZEROS[unit as keyof typeof ZEROS];
  const digits = fraction.replace(/0+$/, "");
  return digits.length > zeros ? NaN : Number(whole + digits.padEnd(zeros, "0"));
}
