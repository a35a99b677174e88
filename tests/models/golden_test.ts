/** Every golden case on the CPU device: blocks, losses, checkpoints, schedules and sampling. */

import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { NOT_IMPLEMENTED, passes } from "../../cli/golden/result.ts";
import { goldenCases } from "../../cli/golden/suite.ts";
import { withCpu } from "../support/devices.ts";
import { sharedPath } from "../support/shared.ts";

/** RAD-RWKV6, which issue 4 brings. */
const COMES_LATER = [
  "wkv6",
  "rad_rwkv6",
  "rad_rwkv6_rope",
  "rad_rwkv6_no_tokenshift",
  "tiny-rwkv6",
];

const fixtures = fileURLToPath(new URL("fixtures/golden", import.meta.url));

for (
  const { folder, from, atLeast } of [
    { folder: sharedPath("golden"), from: "../shared/golden", atLeast: 16 },
    // Sizes and flags that the others lack, by make_fixtures.py.
    { folder: fixtures, from: "tests/models/fixtures/golden", atLeast: 17 },
  ]
) {
  Deno.test(`golden: every case of ${from} passes but those of blocks that come later`, async () => {
    const cases = goldenCases(folder);
    const implemented = cases.filter(({ name }) => !COMES_LATER.includes(name));
    assert(implemented.length >= atLeast);
    await withCpu({ threads: 2 }, async (device) => {
      for (const each of cases) {
        const result = await each.run(device);
        if (COMES_LATER.includes(each.name)) {
          assertEquals(result, { name: each.name, problem: NOT_IMPLEMENTED });
        } else assert(passes(result), JSON.stringify(result));
      }
    });
  });
}
