/** The golden cases that every device is tested by. */

import { assert } from "@std/assert";
import { fileURLToPath } from "node:url";
import { passes, TOLERANCES } from "../../cli/golden/result.ts";
import { goldenCases } from "../../cli/golden/suite.ts";
import type { Device, ProductPrecision } from "../../devices/device.ts";
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

/** What of a folder is run, and how it is held to what is stored. */
interface GoldenOptions {
  /** Names that are run; all by default. */
  readonly only?: RegExp;
  /** f32 by default. */
  readonly products?: ProductPrecision;
}

/** Fails where a case of a folder does not pass on a device. */
export async function assertGolden(
  device: Device,
  { folder, atLeast }: GoldenFolder,
  { only, products = "f32" }: GoldenOptions = {},
): Promise<void> {
  const all = goldenCases(folder);
  assert(all.length >= atLeast);
  const cases = all.filter(({ name }) => only?.test(name) ?? true);
  assert(cases.length > 0);
  for (const each of cases) {
    const result = await each.run(device);
    assert(passes(result, TOLERANCES[products]), JSON.stringify(result));
  }
}
