/** Devices for tests. */

import { type CpuOptions, openCpu } from "../../devices/cpu/device.ts";
import type { Device } from "../../devices/device.ts";

/** Runs with a CPU device, without a BLAS unless one is asked for, and closes it. */
export async function withCpu<T>(
  options: CpuOptions,
  run: (device: Device) => T | Promise<T>,
): Promise<T> {
  const device = await openCpu({ blas: "none", ...options });
  try {
    return await run(device);
  } finally {
    await device.close();
  }
}
