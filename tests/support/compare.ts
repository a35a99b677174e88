/** How far two tensors are apart. */

import { assert } from "@std/assert";

/** Below this, values count as small of their own and differences as they are. */
const SMALL = 1e-6;

/**
 * Largest difference relative to the largest finite expected value; infinite where only one of two
 * elements is NaN or infinite.
 */
function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) return Infinity;
  let difference = 0;
  let largest = SMALL;
  for (let i = 0; i < expected.length; i++) {
    if (Number.isFinite(expected[i])) largest = Math.max(largest, Math.abs(expected[i]));
    if (Object.is(found[i], expected[i])) continue;
    const apart = Math.abs(found[i] - expected[i]);
    difference = Math.max(difference, Number.isNaN(apart) ? Infinity : apart);
  }
  return difference / largest;
}

/** Fails unless two tensors agree within a tolerance relative to the largest expected value. */
export function assertClose(
  what: string,
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
): void {
  const error = relativeError(found, expected);
  assert(
    error <= tolerance,
    `${what}: relative error ${error}, expected at most ${tolerance}\n` +
      `found    ${Array.from(found).slice(0, 8).join(", ")}\n` +
      `expected ${Array.from(expected).slice(0, 8).join(", ")}`,
  );
}
