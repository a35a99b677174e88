/** Every golden case on the WebGPU device. */

import { withWebgpu } from "../support/devices.ts";
import { assertGolden, goldenFolders } from "../support/golden.ts";

for (const each of goldenFolders) {
  Deno.test(`golden: every case of ${each.from} passes on webgpu`, async () => {
    await withWebgpu((device) => assertGolden(device, each));
  });
}
