/**
 * What the paper reports of its own runs (RADLADS, arXiv 2505.03005, Table 3): hours on 8 x MI300X
 * by size. The table names no mixers; these are the ones that were published at a size.
 */

import type { ConvertingMixer } from "../dsl/mixers.ts";
import type { Recipe } from "../dsl/recipe.ts";
import type { ModelSpec } from "../models/config.ts";
import type { Fleet } from "./fleets.ts";

/** One published conversion. */
export interface PublishedRun {
  /** What the recipes of recipes/qrwkv6.ts call it. */
  readonly size: string;
  readonly teacher: string;
  /** In every layer. */
  readonly mixers: readonly ConvertingMixer["kind"][];
  /** Hours of stages 1, 2 and 3. */
  readonly hours: readonly [align: number, distill: number, finetune: number];
}

/** The fleet of every published run. */
export const PUBLISHED_FLEET = "8x MI300X";

export const PUBLISHED: readonly PublishedRun[] = Object.freeze([
  {
    size: "7B",
    teacher: "Qwen/Qwen2.5-7B-Instruct",
    mixers: ["radRwkv6", "radRwkv7"],
    hours: [0.75, 5.5, 1],
  },
  {
    size: "32B",
    teacher: "Qwen/Qwen2.5-32B-Instruct",
    mixers: ["radRwkv6"],
    hours: [2.5, 27, 3],
  },
  {
    size: "72B",
    teacher: "Qwen/Qwen2.5-72B-Instruct",
    mixers: ["radRwkv6"],
    hours: [7.5, 54, 6],
  },
]);

/** The hours that the paper reports for the same teacher, mixers, stages and fleet. */
export function publishedHours(
  { teacher, stages }: Pick<Recipe, "teacher" | "stages">,
  { mixers }: Pick<ModelSpec, "mixers">,
  fleet: Pick<Fleet, "name">,
): readonly number[] | undefined {
  const run = PUBLISHED.find((run) =>
    teacher.kind === "checkpoint" && run.teacher === teacher.location &&
    run.mixers.some((kind) => mixers.every((mixer) => mixer.kind === kind))
  );
  const same = stages.map(({ kind }) => kind).join() === "align,distill,finetune";
  return same && fleet.name === PUBLISHED_FLEET ? run?.hours : undefined;
}

/** The mean which makes the logarithms of the residuals sum to zero. */
export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/**
 * The efficiency that fits the published hours of a stage best.
 * @param runs FLOPs and hours of every run
 * @param peak FLOP/s of the whole fleet
 */
export function fittedEfficiency(
  runs: readonly { readonly flops: number; readonly hours: number }[],
  peak: number,
): number {
  return geometricMean(runs.map(({ flops, hours }) => flops / (peak * hours * 3600)));
}
