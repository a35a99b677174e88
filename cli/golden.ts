/** `deno task golden`: every case of a golden directory, on a device. */

import { command, main } from "./command/command.ts";
import { deviceFlags, withDevice } from "./device.ts";
import { absent, text, UsageError } from "./command/flags.ts";
import { type CaseResult, lineOf, passes, TOLERANCES } from "./golden/result.ts";
import { goldenCases } from "./golden/suite.ts";

/** The command. */
export const golden = command({
  name: "golden",
  summary: "compares every block, loss and checkpoint of a directory with the values stored there",
  arguments: { DIR: "a directory of the form of ../shared/golden" },
  flags: {
    only: absent(text("PATTERN", "cases whose names contain this"), "all"),
    ...deviceFlags,
  },
  run: async ({ arguments: { DIR: folder }, flags }, { print, say }) => {
    const all = goldenCases(folder);
    const cases = all.filter(({ name }) => name.includes(flags.only ?? ""));
    if (cases.length === 0) {
      const names = all.map(({ name }) => name).join(", ");
      throw new UsageError(`--only: expected a part of one of ${names}, found "${flags.only}"`);
    }
    const width = Math.max(...cases.map(({ name }) => name.length));
    const tolerances = TOLERANCES[flags.products];
    return await withDevice(flags, say, async (device) => {
      const results: CaseResult[] = [];
      for (const each of cases) {
        const result = await each.run(device);
        results.push(result);
        print(`${lineOf(result, width, tolerances)}\n`);
      }
      const failed = results.filter((result) => !passes(result, tolerances)).length;
      print(
        `${results.length - failed} of ${results.length} cases pass; tolerance of outputs ` +
          `${tolerances.outputs}, of gradients ${tolerances.gradients}\n`,
      );
      return {
        report: {
          device: device.description,
          tolerances,
          passed: results.length - failed,
          failed,
          cases: results.map((result) => ({ ...result, passed: passes(result, tolerances) })),
        },
        failed: failed > 0,
      };
    });
  },
});

if (import.meta.main) await main(golden);
