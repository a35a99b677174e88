/** Where a program's time goes. */

import type { KernelCost } from "../kernels/kernel.ts";
import type { Program } from "../kernels/program.ts";
import type { ProfileRow } from "./device.ts";

/** Sums the seconds of a program's launches by what they do. */
export function profileRows(
  { launches }: Program<KernelCost>,
  seconds: ArrayLike<number>,
): ProfileRow[] {
  const rows = new Map<string, ProfileRow>();
  launches.forEach(({ label, kernel }, i) => {
    const row = rows.get(label) ?? { label, launches: 0, seconds: 0, flops: 0, bytes: 0 };
    rows.set(label, {
      label,
      launches: row.launches + 1,
      seconds: row.seconds + seconds[i],
      flops: row.flops + kernel.flops,
      bytes: row.bytes + kernel.bytes,
    });
  });
  return [...rows.values()].sort((a, b) => b.seconds - a.seconds);
}
