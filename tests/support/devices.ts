/** Devices for tests. */

import { type CpuOptions, openCpu } from "../../devices/cpu/device.ts";
import { findNative } from "../../devices/cpu/native.ts";
import { type CudaOptions, openCuda } from "../../devices/cuda/device.ts";
import type { Device } from "../../devices/device.ts";
import { levelsOf } from "../../kernels/render/x64.ts";
import { openWebgpu, type WebgpuOptions } from "../../devices/webgpu/device.ts";
import { cudaEmulator } from "./cuda.ts";

async function using<T>(device: Device, run: (device: Device) => T | Promise<T>): Promise<T> {
  try {
    return await run(device);
  } finally {
    await device.close();
  }
}

/** Runs with the WebGPU device, and closes it. */
export const withWebgpu = async <T>(
  run: (device: Device) => T | Promise<T>,
  options: WebgpuOptions = {},
): Promise<T> => await using(await openWebgpu(options), run);

/**
 * Runs with a CUDA device, and closes it: the GPU where TEST_CUDA=gpu, else the emulated driver. Small
 * products are the library's, for tests have no others.
 */
export const withCuda = <T>(
  run: (device: Device) => T | Promise<T>,
  options: CudaOptions = {},
): Promise<T> => {
  const places = Deno.env.get("TEST_CUDA") === "gpu" ? {} : cudaEmulator();
  return using(openCuda({ ...places, ownFlops: 0, ...options }), run);
};

/** Runs with a CPU device, without a BLAS unless one is asked for, and closes it. */
export async function withCpu<T>(
  options: CpuOptions,
  run: (device: Device) => T | Promise<T>,
): Promise<T> {
  return await using(await openCpu({ blas: "none", ...options }), run);
}

/** The kernels that a CPU device can have on this machine: always WebAssembly, and machine code. */
const found = findNative();
const CPU_KERNELS = ["none", ...(found === undefined ? [] : levelsOf(found))] as const;

/** A test of a CPU device for each kind of kernels. */
export function eachCpuTest(
  name: string,
  run: (native: NonNullable<CpuOptions["native"]>) => Promise<void>,
): void {
  for (const native of CPU_KERNELS) {
    Deno.test(`cpu (${native === "none" ? "wasm" : native}): ${name}`, () => run(native));
  }
}
