/** The flag by which commands choose in how many bits weights are held. */

import type { Device } from "../devices/device.ts";
import { WEIGHT_FORMATS, type WeightFormat } from "../infer/weights.ts";
import { choice, optional, UsageError } from "./flags.ts";

/** See docs/decoding.md. */
export const weightsFlag = optional(choice("how weights are held", WEIGHT_FORMATS), "f32");

/** Fails for a format that the device has no kernels for. @throws UsageError */
export function checkWeights({ kind, stores }: Device, format: WeightFormat): void {
  if (format === "f32" || stores.includes(format)) return;
  const expected = ["f32", ...stores].join("|");
  throw new UsageError(`--weights: expected ${expected} with --device ${kind}, found ${format}`);
}
