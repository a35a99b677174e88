/** How far apart what two devices compute is. */

/**
 * The largest difference of two lists of tensors, each of the largest value of its tensor; infinite
 * where a value is not a number or a list is shorter.
 */
export function largestDifference(
  found: readonly ArrayLike<number>[],
  expected: readonly ArrayLike<number>[],
): number {
  if (found.length !== expected.length) return Infinity;
  let worst = 0;
  expected.forEach((values, t) => {
    const own = found[t];
    let [largest, apart] = [0, own.length === values.length ? 0 : Infinity];
    for (let i = 0; i < values.length; i++) {
      largest = Math.max(largest, Math.abs(values[i]));
      const difference = Math.abs(own[i] - values[i]);
      apart = difference <= apart ? apart : Number.isNaN(difference) ? Infinity : difference;
    }
    if (apart > 0) worst = Math.max(worst, apart / largest);
  });
  return worst;
}
