/** Devices for tests. */

import { type CpuOptions, openCpu } from "../../devices/cpu/device.ts";
import { findNative } from "../../devices/cpu/native.ts";
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

/** The kernels that a CPU device can have on this machine: always WebAssembly, and machine code. */
export const CPU_KERNELS = [
  "none",
  ...({ none: [], avx2: ["avx2"], avx512: ["avx2", "avx512"] } as const)[findNative() ?? "none"],
] as const;

/** A test of a CPU device for each kind of kernels. */
export function eachCpuTest(
  name: string,
  run: (native: NonNullable<CpuOptions["native"]>) => Promise<void>,
): void {
  for (const native of CPU_KERNELS) {
    Deno.test(`cpu (${native === "none" ? "wasm" : native}): ${name}`, () => run(native));
  }
}
