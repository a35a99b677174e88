/** Devices by name. */

import { type CpuOptions, openCpu } from "./cpu/device.ts";
import { describeCuda, openCuda } from "./cuda/device.ts";
import type { Device, ProductPrecision } from "./device.ts";
import { describeGpu } from "./webgpu/adapter.ts";
import { openWebgpu } from "./webgpu/device.ts";

/** Names of devices. */
export const DEVICE_NAMES = ["cpu", "webgpu", "cuda"] as const;

/** A device's name. */
export type DeviceName = typeof DEVICE_NAMES[number];

/** How a device is set up; most options are the CPU's. */
export interface DeviceOptions extends CpuOptions {
  /** In which numbers CUDA multiplies matrices, f32 by default; elsewhere always f32. */
  readonly products?: ProductPrecision;
}

/** Opens a device. */
export function openDevice(name: DeviceName, options: DeviceOptions = {}): Promise<Device> {
  const { onCompile, products } = options;
  switch (name) {
    case "cpu":
      return openCpu(options);
    case "webgpu":
      return openWebgpu({ onCompile });
    case "cuda":
      return Promise.resolve(openCuda({ onCompile, products }));
    default:
      return name satisfies never;
  }
}

/** The device that should be fastest here, and why: a GPU, unless it is one in software. */
export async function chooseDevice(): Promise<{ name: DeviceName; why: string }> {
  const nvidia = describeCuda();
  if (nvidia !== undefined) return { name: "cuda", why: `there is an NVIDIA GPU, ${nvidia}` };
  const gpu = await describeGpu();
  if (gpu === undefined) return { name: "cpu", why: "there is no GPU that CUDA or WebGPU can use" };
  if (gpu.software) return { name: "cpu", why: `the only GPU, ${gpu.name}, is software` };
  return { name: "webgpu", why: `there is a GPU, ${gpu.name}` };
}
