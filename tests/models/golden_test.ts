/** Every golden case on the CPU device: blocks, losses, checkpoints, schedules and sampling. */

import { withCpu } from "../support/devices.ts";
import { assertGolden, goldenFolders } from "../support/golden.ts";

for (const each of goldenFolders) {
  Deno.test(`golden: every case of ${each.from} passes`, async () => {
    await withCpu({ threads: 2 }, (device) => assertGolden(device, each));
  });
}
