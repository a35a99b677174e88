/** Devices by name. */

import { type CpuOptions, openCpu } from "./cpu/device.ts";
import { openCuda } from "./cuda/device.ts";
import type { Device } from "./device.ts";
import { openWebgpu } from "./webgpu/device.ts";

/** Names that `--device` takes. */
export const DEVICE_NAMES = ["cpu", "webgpu", "cuda"] as const;

/** A device's name. */
export type DeviceName = typeof DEVICE_NAMES[number];

/** Opens a device. */
export function openDevice(name: DeviceName, options: CpuOptions = {}): Promise<Device> {
  switch (name) {
    case "cpu":
      return openCpu(options);
    case "webgpu":
      return openWebgpu();
    case "cuda":
      return Promise.resolve(openCuda());
    default:
      return name satisfies never;
  }
}
