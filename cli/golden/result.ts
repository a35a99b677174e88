/** What comes of a golden case: its largest errors, held to a tolerance. */

import type { ProductPrecision } from "../../devices/device.ts";

/** Largest relative errors that pass. */
export interface Tolerances {
  readonly outputs: number;
  readonly gradients: number;
}

/**
 * By the numbers that are multiplied, against values computed in f64: of f32 arithmetic; and in TF32,
 * where rounding both factors to 2⁻¹¹ of themselves makes a product off by 2⁻¹⁰ at most. Errors of its
 * terms have both signs, as the terms have, so that a sum of any length is off by as large a share. The
 * models have 15 products one after another, whose errors add up to √15 ≈ 4 times that; gradients pass
 * back through all of them, are sums in which much cancels, and a library may cut numbers off instead
 * of rounding them, which doubles it.
 */
export const TOLERANCES: Readonly<Record<ProductPrecision, Tolerances>> = {
  f32: { outputs: 2e-5, gradients: 2e-4 },
  tf32: { outputs: 4 * 2 ** -10, gradients: 16 * 2 ** -10 },
};

/** Tensors without a larger value than this count as zero: their errors are taken as they are. */
const SMALLEST = 1e-6;

/** The largest relative error among some tensors, and whose it is. */
export interface WorstError {
  readonly error: number;
  readonly tensor: string;
}

/** The result of one case. */
export interface CaseResult {
  readonly name: string;
  readonly outputs?: WorstError;
  readonly gradients?: WorstError;
  /** Why there are no errors to show: what went wrong. */
  readonly problem?: string;
}

/** Largest difference relative to the largest expected value; infinite for NaN and infinities. */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) return Infinity;
  let difference = 0;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const apart = Math.abs(found[i] - expected[i]);
    difference = Math.max(difference, Number.isNaN(apart) ? Infinity : apart);
    largest = Math.max(largest, Math.abs(expected[i]));
  }
  return largest < SMALLEST || difference === Infinity ? difference : difference / largest;
}

/** A tensor that was computed and the one that was expected. */
export interface Compared {
  readonly tensor: string;
  readonly found: ArrayLike<number>;
  readonly expected: ArrayLike<number>;
}

/** The worst of some tensors; undefined for none. */
export function worstOf(list: readonly Compared[]): WorstError | undefined {
  let worst: WorstError | undefined;
  for (const { tensor, found, expected } of list) {
    const error = relativeError(found, expected);
    if (worst === undefined || error > worst.error) worst = { error, tensor };
  }
  return worst;
}

/** Whether a case is within some tolerances. */
export function passes(
  { outputs, gradients, problem }: CaseResult,
  tolerances: Tolerances,
): boolean {
  return problem === undefined && (outputs?.error ?? 0) <= tolerances.outputs &&
    (gradients?.error ?? 0) <= tolerances.gradients;
}

/** A case as a line for people, its name padded to a width. */
export function lineOf(result: CaseResult, width: number, tolerances: Tolerances): string {
  const { name, outputs, gradients, problem } = result;
  const start = name.padEnd(width);
  if (problem !== undefined) return `${start}  ${problem}`;
  const verdict = passes(result, tolerances) ? "ok    " : "FAILED";
  const part = (what: string, worst: WorstError | undefined) =>
    worst === undefined ? "" : `  ${what} ${worst.error.toExponential(1)} (${worst.tensor})`;
  const found = part("outputs", outputs).padEnd(36) + part("gradients", gradients);
  return `${start}  ${verdict}${found}`.trimEnd();
}
