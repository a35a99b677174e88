/** How much of one tensor kernels reach, whatever memory the device has. */

import type { Launch } from "../kernels/program.ts";

/**
 * Refuses a launch of which a kernel would not reach all operands.
 * @param device what the message begins with
 * @param limit bytes from which on a tensor is too large
 * @throws RangeError that says which operation it is and what helps.
 */
export function checkReach(
  device: string,
  { label, operands }: Pick<Launch<unknown>, "label" | "operands">,
  limit: number,
): void {
  const large = operands.find(({ bytes }) => bytes >= limit);
  if (large === undefined) return;
  throw new RangeError(
    `${device}: ${label}: a tensor of ${large.bytes} bytes, kernels reach ${
      Math.round(limit / 2 ** 30)
    } GiB ` +
      "of one; a smaller batch or accumulation make activations smaller",
  );
}
