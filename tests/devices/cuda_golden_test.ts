/** Every golden case on the CUDA device (emulated driver). */

import { assert } from "@std/assert";
import { fileURLToPath } from "node:url";
import { passes } from "../../cli/golden/result.ts";
import { goldenCases } from "../../cli/golden/suite.ts";
import { withCuda } from "../support/cuda.ts";
import { sharedPath } from "../support/shared.ts";

const fixtures = fileURLToPath(new URL("../models/fixtures/golden", import.meta.url));

for (
  const [from, folder] of [["../shared/golden", sharedPath("golden")], [
    "tests/models/fixtures/golden",
    fixtures,
  ]]
) {
  Deno.test(`cuda: every golden case of ${from} passes`, async () => {
    const cases = goldenCases(folder);
    assert(cases.length > 20);
    await withCuda(async (device) => {
      for (const each of cases) {
        const result = await each.run(device);
        assert(passes(result), JSON.stringify(result));
      }
    });
  });
}
