/** `deno task losses`: how far two runs of one recipe are apart, step by step. */

import { writeFileAtomic } from "../formats/atomic_file.ts";
import {
  compareLosses,
  readLosses,
  type StageDifference,
  type StageLosses,
} from "../train/telemetry.ts";
import { command, main } from "./command.ts";
import { type Panel, plotSvg } from "./draw/plot.ts";
import { absent, path } from "./flags.ts";
import { table } from "./table.ts";

const RUN = "the folder of a result or of a run in progress, or its telemetry.jsonl";

/** Points of a line at most; each is the mean of as many steps as it takes. */
const POINTS = 256;

/** Losses over steps, in means of so many. */
function points(losses: readonly number[], steps: number) {
  return Array.from({ length: Math.ceil(losses.length / steps) }, (_, i) => {
    const own = losses.slice(i * steps, (i + 1) * steps);
    return { x: i * steps + own.length, y: own.reduce((sum, loss) => sum + loss, 0) / own.length };
  });
}

/** Both runs' losses, a panel a stage. */
export function lossesSvg(
  runs: readonly [readonly StageLosses[], readonly StageLosses[]],
  names: readonly [string, string],
): string {
  const steps = Math.max(...runs.flat().map(({ losses }) => Math.ceil(losses.length / POINTS)));
  const stages = runs[0].length >= runs[1].length ? runs[0] : runs[1];
  const panels = stages.map(({ stage }, i): Panel => ({
    title: `loss of ${stage}${steps === 1 ? "" : `, means of ${steps} steps`}`,
    series: runs.flatMap((run, r) =>
      run[i] === undefined
        ? []
        : [{ name: names[r], points: points(run[i].losses, steps), wide: r === 0 }]
    ),
  }));
  return plotSvg({ title: "Training losses of two runs", x: "steps", panels });
}

/** A relative difference in two digits. */
const relative = (value: number) => value === 0 ? "0" : value.toExponential(1);

const stepsText = ({ compared, steps }: StageDifference) =>
  steps[0] === steps[1] ? `${compared}` : `${compared} of ${steps[0]}, ${steps[1]}`;

function rows(differences: readonly StageDifference[]): string[][] {
  const heads = ["stage", "steps", "equal", "first 10", "first 100", "all", "mean"];
  return [
    [...heads, "last loss of A", "of B"],
    ...differences.map((one) => [
      ...[one.stage, stepsText(one), `${one.equal}`],
      ...[one.first10, one.first100, one.largest, one.mean].map(relative),
      ...one.last.map((loss) => loss.toFixed(4)),
    ]),
  ];
}

/** The command. */
export const losses = command({
  name: "losses",
  summary: "compares the training losses of two runs step by step: how far B is from A, relative " +
    "to A, at most over the first 10 steps, the first 100 and all, and on average",
  arguments: { RUN_A: RUN, RUN_B: RUN },
  flags: { svg: absent(path("FILE", "draws both runs' losses"), "no drawing") },
  run: ({ arguments: { RUN_A, RUN_B }, flags: { svg } }, { print, columns }) => {
    const names = [RUN_A, RUN_B] as const;
    const runs = [readLosses(RUN_A), readLosses(RUN_B)] as const;
    const stages = compareLosses(runs, names);
    print(table(rows(stages), columns));
    if (svg !== undefined) {
      writeFileAtomic(svg, lossesSvg(runs, names));
      print(`\n${svg}\n`);
    }
    return Promise.resolve({ report: { runs: names, stages, ...(svg !== undefined && { svg }) } });
  },
});

if (import.meta.main) await main(losses);
