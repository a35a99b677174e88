/** Every golden case on the CUDA device, on the emulated driver. */

import { withCuda } from "../support/devices.ts";
import { assertGolden, goldenFolders } from "../support/golden.ts";

for (const each of goldenFolders) {
  Deno.test(`golden: every case of ${each.from} passes on cuda`, async () => {
    await withCuda((device) => assertGolden(device, each));
  });
}
