/** The gradients of every operation on the WebGPU device, within the tolerance of the CPU. */

import { assertCases } from "../../support/device_case.ts";
import { withWebgpu } from "../../support/devices.ts";
import { gradientCases } from "../../support/op_cases.ts";

Deno.test("webgpu: gradients of every operation are what the reference says", async () => {
  await withWebgpu((device) => assertCases(device, gradientCases));
});
