/** `deno task losses`: the training losses of a run, or how far two of one recipe are apart. */

import { writeFileAtomic } from "../formats/atomic_file.ts";
import {
  compareLosses,
  readLosses,
  type StageDifference,
  type StageLosses,
} from "../train/telemetry.ts";
import { command, main } from "./command/command.ts";
import { type Panel, plotSvg } from "./draw/plot.ts";
import { absent, path } from "./command/flags.ts";
import { table } from "./terminal/table.ts";

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

/** The losses of one run or two, a panel a stage. */
export function lossesSvg(
  runs: readonly (readonly StageLosses[])[],
  names: readonly string[],
): string {
  const steps = Math.max(...runs.flat().map(({ losses }) => Math.ceil(losses.length / POINTS)));
  const stages = runs.reduce((most, run) => run.length > most.length ? run : most);
  const wide = (run: number) => run === 0 && runs.length > 1;
  const panels = stages.map(({ stage }, i): Panel => ({
    title: `loss of ${stage}${steps === 1 ? "" : `, means of ${steps} steps`}`,
    series: runs.flatMap((run, r) =>
      run[i] === undefined
        ? []
        : [{ name: names[r], points: points(run[i].losses, steps), wide: wide(r) }]
    ),
  }));
  const title = `Training losses${runs.length > 1 ? " of two runs" : ""}`;
  return plotSvg({ title, x: "steps", panels });
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

/** A stage of one run, by its first loss and its last ones. */
interface StageCourse {
  readonly stage: string;
  readonly steps: number;
  readonly first: number;
  readonly last: number;
  /** The mean of the last steps, `LAST` of them where there are as many. */
  readonly lastMean: number;
}

const LAST = 100;

function courseOf({ stage, losses }: StageLosses): StageCourse {
  const end = losses.slice(-LAST);
  return {
    stage,
    steps: losses.length,
    first: losses[0],
    last: end[end.length - 1],
    lastMean: end.reduce((sum, loss) => sum + loss, 0) / end.length,
  };
}

function courseRows(courses: readonly StageCourse[]): string[][] {
  return [
    ["stage", "steps", "first loss", "last loss", `mean of last ${LAST}`],
    ...courses.map(({ stage, steps, first, last, lastMean }) => [
      ...[stage, `${steps}`],
      ...[first, last, lastMean].map((loss) => loss.toFixed(4)),
    ]),
  ];
}

/** The command. */
export const losses = command({
  name: "losses",
  summary: "tells the training losses of a run, or compares two step by step: how far B is from " +
    "A, relative to A, at most over the first 10 steps, the first 100 and all, and on average",
  arguments: { RUN_A: RUN, "[RUN_B]": "another run of the same recipe" },
  flags: { svg: absent(path("FILE", "where the losses are drawn"), "not drawn") },
  run: ({ arguments: { RUN_A, "[RUN_B]": other }, flags: { svg } }, { print, columns }) => {
    const names = other === undefined ? [RUN_A] : [RUN_A, other];
    const runs = names.map(readLosses);
    const [a, b] = runs;
    const courses = a.map(courseOf);
    const differences = other === undefined ? undefined : compareLosses([a, b], [RUN_A, other]);
    print(table(differences === undefined ? courseRows(courses) : rows(differences), columns()));
    if (svg !== undefined) {
      writeFileAtomic(svg, lossesSvg(runs, names));
      print(`\n${svg}\n`);
    }
    const stages = differences ?? courses;
    return Promise.resolve({ report: { runs: names, stages, ...(svg !== undefined && { svg }) } });
  },
});

if (import.meta.main) await main(losses);
