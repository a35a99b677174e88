/** `deno task bench`: what this machine reaches. */

import { benchMatmul } from "../bench/matmul.ts";
import { type ShapeName, SHAPES } from "../bench/shapes.ts";
import { benchTrain } from "../bench/train.ts";
import { machineReport } from "../train/machine.ts";
import { command, main } from "./command.ts";
import { deviceFlags, withDevice } from "./device.ts";
import { choice, optional, toggle, UsageError, whole } from "./flags.ts";
import { bytesText, table } from "./table.ts";

const SHAPE_NAMES = Object.keys(SHAPES) as ShapeName[];
/** Rows of the profile that are printed. */
const PROFILE_ROWS = 30;

/** The command. */
export const bench = command({
  name: "bench",
  summary: "measures tokens/s of a training step, or GFLOPS of matrix products",
  arguments: { WHAT: "train or matmul" },
  flags: {
    shape: optional(choice("model and batch of `train`", SHAPE_NAMES), "tiny"),
    stage: optional(choice("stage of `train`", ["1", "2"]), "1"),
    steps: optional(whole("steps that are timed", 1, 10000), 10),
    profile: toggle("also time every kernel of a step"),
    ...deviceFlags,
  },
  run: async ({ arguments: { WHAT }, flags }, { print, say }) => {
    if (WHAT !== "train" && WHAT !== "matmul") {
      throw new UsageError(`WHAT: expected train or matmul, found ${JSON.stringify(WHAT)}`);
    }
    return await withDevice(flags, say, async (device) => {
      const about = { device: device.description, ...machineReport() };
      if (WHAT === "matmul") {
        const rows = await benchMatmul(device);
        print(table([
          ["m × n × k", "GFLOPS", "ms"],
          ...rows.map(({ m, n, k, gflops, seconds }) => [
            `${m} × ${n} × ${k}`,
            gflops.toFixed(1),
            (1000 * seconds).toFixed(3),
          ]),
        ]));
        return { report: { rows, ...about } };
      }
      const { shape, steps } = flags;
      const stage = flags.stage === "1" ? 1 : 2;
      const result = await benchTrain(device, { shape, stage, steps }, flags.profile);
      const { tokensPerSecond, medianTokensPerSecond, gflops, secondsPerStep, bytes } = result;
      print(table([
        ["shape", "stage", "tokens/s", "median", "GFLOPS", "ms a step", "memory"],
        [
          shape,
          flags.stage,
          tokensPerSecond.toFixed(0),
          medianTokensPerSecond.toFixed(0),
          gflops.toFixed(1),
          (1000 * secondsPerStep).toFixed(1),
          bytesText(bytes),
        ],
      ]));
      if (result.profile !== undefined) print(`\n${profileTable(result.profile)}`);
      return {
        report: {
          shape,
          stage,
          steps,
          tokens_per_second: tokensPerSecond,
          median_tokens_per_second: medianTokensPerSecond,
          gflops,
          seconds_per_step: secondsPerStep,
          bytes,
          profile: result.profile,
          ...about,
        },
      };
    });
  },
});

function profileTable(profile: NonNullable<Awaited<ReturnType<typeof benchTrain>>["profile"]>) {
  const total = profile.reduce((sum, { seconds }) => sum + seconds, 0);
  return table([
    ["kernel", "launches", "ms", "share", "GFLOPS", "GB/s"],
    ...profile.slice(0, PROFILE_ROWS).map(({ label, launches, seconds, flops, bytes }) => [
      label.length > 60 ? `${label.slice(0, 59)}…` : label,
      `${launches}`,
      (1000 * seconds).toFixed(2),
      `${(100 * seconds / total).toFixed(1)} %`,
      (flops / seconds / 1e9).toFixed(1),
      (bytes / seconds / 1e9).toFixed(1),
    ]),
  ]);
}

if (import.meta.main) await main(bench);
