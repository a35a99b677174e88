/** Every golden case on the CPU device: blocks, losses, checkpoints, schedules and sampling. */

import { assert } from "@std/assert";
import { fileURLToPath } from "node:url";
import { passes } from "../../cli/golden/result.ts";
import { goldenCases } from "../../cli/golden/suite.ts";
import { withCpu } from "../support/devices.ts";
import { sharedPath } from "../support/shared.ts";

const fixtures = fileURLToPath(new URL("fixtures/golden", import.meta.url));

for (
  const { folder, from, atLeast } of [
    { folder: sharedPath("golden"), from: "../shared/golden", atLeast: 21 },
    // Sizes and flags that the others lack, by make_fixtures.py.
    { folder: fixtures, from: "tests/models/fixtures/golden", atLeast: 26 },
  ]
) {
  Deno.test(`golden: every case of ${from} passes`, async () => {
    const cases = goldenCases(folder);
    assert(cases.length >= atLeast);
    await withCpu({ threads: 2 }, async (device) => {
      for (const each of cases) {
        const result = await each.run(device);
        assert(passes(result), JSON.stringify(result));
      }
    });
  });
}
