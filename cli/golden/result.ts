/** What comes of a golden case: its largest errors, held to a tolerance. */

/** Largest relative errors that pass. f32 arithmetic against values computed in f64. */
export const OUTPUT_TOLERANCE = 2e-5;
export const GRADIENT_TOLERANCE = 2e-4;

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

/** Whether a case is within its tolerances. */
export function passes({ outputs, gradients, problem }: CaseResult): boolean {
  return problem === undefined && (outputs?.error ?? 0) <= OUTPUT_TOLERANCE &&
    (gradients?.error ?? 0) <= GRADIENT_TOLERANCE;
}

/** A case as a line for people, its name padded to a width. */
export function lineOf(result: CaseResult, width: number): string {
  const { name, outputs, gradients, problem } = result;
  const start = name.padEnd(width);
  if (problem !== undefined) return `${start}  ${problem}`;
  const verdict = passes(result) ? "ok    " : "FAILED";
  const part = (what: string, worst: WorstError | undefined) =>
    worst === undefined ? "" : `  ${what} ${worst.error.toExponential(1)} (${worst.tensor})`;
  const found = part("outputs", outputs).padEnd(36) + part("gradients", gradients);
  return `${start}  ${verdict}${found}`.trimEnd();
}
