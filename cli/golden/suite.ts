/** Every case of a golden directory, as a list that can be run one by one. */

import { join } from "node:path";
import type { Device } from "../../devices/device.ts";
import { runBlock } from "./block.ts";
import { checkpointFolders, runCheckpoint } from "./checkpoint.ts";
import { readManifest } from "./manifest.ts";
import { runSampling, runSchedule, samplingName } from "./numbers.ts";
import type { CaseResult } from "./result.ts";

/** A case that can be run. */
export interface GoldenCase {
  readonly name: string;
  run(device: Device): Promise<CaseResult>;
}

/** A case whose errors become its result, so that one does not hide the others. */
function goldenCase(
  name: string,
  run: (device: Device) => CaseResult | Promise<CaseResult>,
): GoldenCase {
  return {
    name,
    run: async (device) => {
      try {
        return await run(device);
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        return { name, problem: error.message };
      }
    },
  };
}

/**
 * The cases of a directory: those of its manifest.json, and its checkpoints.
 * @throws FormatError where there is no manifest, or one of another form.
 */
export function goldenCases(folder: string): GoldenCase[] {
  const { blocks, schedules, samplings } = readManifest(folder);
  return [
    ...blocks.map((block) => goldenCase(block.name, (device) => runBlock(device, folder, block))),
    ...checkpointFolders(folder).map((name) =>
      goldenCase(name, (device) => runCheckpoint(device, join(folder, name)))
    ),
    ...schedules.map((schedule) => goldenCase("lr_schedule", () => runSchedule(schedule))),
    ...samplings.map((sampling) => goldenCase(samplingName(sampling), () => runSampling(sampling))),
  ];
}
