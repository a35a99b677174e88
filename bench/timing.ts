/** Times of what runs often: of work that a device does while the caller goes on, and medians. */

import type { Device, Memory } from "../devices/device.ts";

/** Share of the time that one batch of runs takes at least. */
const BATCH_SHARE = 1 / 4;

/**
 * Seconds of one run, of the fastest batch: runs are queued in batches, so that waiting for a result
 * counts little, and these grow until one takes a quarter of the time. It has run once before.
 * @param result memory that a run writes
 * @param time seconds of all batches, two at least
 */
export async function timeRuns(
  device: Device,
  run: () => unknown,
  result: Memory,
  time: number,
): Promise<number> {
  const value = new Float32Array(1);
  let fastest = Infinity;
  let runs = 1;
  const began = performance.now();
  for (let batch = 0; batch < 2 || performance.now() - began < 1000 * time; batch++) {
    const start = performance.now();
    for (let i = 0; i < runs; i++) await run();
    await device.read(result, value);
    const seconds = (performance.now() - start) / 1000;
    fastest = Math.min(fastest, seconds / runs);
    if (seconds < BATCH_SHARE * time) runs *= 2;
  }
  return fastest;
}

/** The middle one, or the mean of the two in the middle, as Python's `statistics.median`. */
export function median(values: readonly number[] | Float64Array): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
