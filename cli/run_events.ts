/** What a run tells, as lines for people. */

import type { StageReport } from "../train/report.ts";
import type { RunEvents } from "../train/run.ts";
import { debugLevel } from "./debug.ts";
import type { Progress } from "./terminal/progress.ts";

/** Shows the events of a run. */
export function runEvents(progress: Progress): RunEvents {
  return {
    note: progress.note,
    progress: progress.count,
    step: progress.step,
    measured: (measured) => progress.note(measuredText(measured)),
    kept: ({ layers }) => progress.note(keptText(layers)),
    ...(debugLevel() > 0 && {
      took: (what, seconds) => progress.note(`${what}: ${seconds.toFixed(2)} s`),
    }),
  };
}

/** Perplexity over the teacher's. */
export function ratioText(ratio: number | undefined): string {
  return ratio === undefined ? "" : `${ratio.toFixed(4)} ×`;
}

function measuredText({ name, loss, perplexity, ratio }: StageReport): string {
  const against = ratio === undefined ? "" : `, ${ratioText(ratio)} the teacher's`;
  return `${name}: held-out loss ${loss.toFixed(4)}, perplexity ${perplexity.toFixed(3)}${against}`;
}

function keptText(layers: readonly number[]): string {
  const several = layers.length > 1 ? "s" : "";
  return `attention stays in layer${several} ${layers.join(", ")}: largest stage-1 error${several}`;
}
