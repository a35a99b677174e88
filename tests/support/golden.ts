/** The golden cases that every device is tested by. */

import { assert } from "@std/assert";
import { fileURLToPath } from "node:url";
import { passes } from "../../cli/golden/result.ts";
import { goldenCases } from "../../cli/golden/suite.ts";
import type { Device } from "../../devices/device.ts";
import { sharedPath } from "./shared.ts";

/** A folder of golden cases. */
export interface GoldenFolder {
  readonly folder: string;
  readonly from: string;
  readonly atLeast: number;
}

/** Folders of golden cases. */
export const goldenFolders: readonly GoldenFolder[] = [
  { folder: sharedPath("golden"), from: "../shared/golden", atLeast: 21 },
  // Sizes and flags that the others lack, by make_fixtures.py.
  {
    folder: fileURLToPath(new URL("../models/fixtures/golden", import.meta.url)),
    from: "tests/models/fixtures/golden",
    atLeast: 26,
  },
];

/** Fails where a case of a folder does not pass on a device. */
export async function assertGolden(
  device: Device,
  { folder, atLeast }: GoldenFolder,
): Promise<void> {
  const cases = goldenCases(folder);
  assert(cases.length >= atLeast);
  for (const each of cases) {
    const result = await each.run(device);
    assert(passes(result), JSON.stringify(result));
  }
}
