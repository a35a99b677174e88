/**
 * `deno task calibrate`: what plans and rooflines say of the paper's own runs, and the efficiencies
 * that fit.
 */

import { stageBudget } from "../plan/budget.ts";
import { EFFICIENCY, fleetOf } from "../plan/fleets.ts";
import { fittedEfficiency, geometricMean, PUBLISHED, PUBLISHED_FLEET } from "../plan/published.ts";
import { REACHED, stageRoofline } from "../plan/roofline.ts";
import { stageKernels } from "../train/stage_kernels.ts";
import { stageSize } from "../train/stage_size.ts";
import { command, main } from "./command/command.ts";
import { modelsOf } from "./plan/models.ts";
import { dollarsText, residualText, sum } from "./plan/text.ts";
import { loadRecipe } from "./recipe/module.ts";
import { countText, table } from "./terminal/table.ts";

/** The recipes of the published runs, by size: of the mixer that was published at every size. */
const RECIPES = new URL("../recipes/qrwkv6.ts", import.meta.url).href;

const hoursText = (hours: number) => hours.toFixed(2);

/** The command. */
export const calibrate = command({
  name: "calibrate",
  summary:
    `plans the paper's runs on ${PUBLISHED_FLEET} beside its hours and their rooflines, and ` +
    "fits efficiencies",
  arguments: {},
  flags: {},
  run: async (_, { print, columns }) => {
    const fleet = fleetOf(PUBLISHED_FLEET)!;
    // Before anything is counted: a recipe has seconds to load, and counting lets nobody else work.
    const recipes = await Promise.all(
      PUBLISHED.map(({ size }) => loadRecipe(`${RECIPES}#${size}`)),
    );
    const models = await Promise.all(recipes.map((recipe) => modelsOf(recipe)));
    const runs = PUBLISHED.map(({ size, hours }, run) => {
      const recipe = recipes[run];
      const { student, from } = models[run];
      const stages = recipe.stages.map((stage, i) => {
        const size = stageSize(stage, student, from?.spec);
        const kernels = stageKernels(stage, student, from?.spec, fleet.devices);
        const { seconds, bound } = stageRoofline(size, kernels, fleet);
        return {
          kind: stage.kind,
          publishedHours: hours[i],
          ...stageBudget(size, fleet),
          roofline: { seconds, bound },
        };
      });
      return { size, stages };
    });
    const { row } = fleet;
    const peak = fleet.devices * row.peak.bf16;
    const kinds = runs[0].stages.map(({ kind }, i) => {
      const stages = runs.map(({ stages }) => stages[i]);
      const hours = stages.map(({ flops, publishedHours }) => ({ flops, hours: publishedHours }));
      return {
        kind,
        assumed: EFFICIENCY[kind],
        fitted: fittedEfficiency(hours, peak),
        reached: {
          assumed: REACHED[kind],
          fitted: geometricMean(
            stages.map(({ roofline, publishedHours }) =>
              roofline.seconds / (3600 * publishedHours)
            ),
          ),
        },
      };
    });
    const line = (
      size: string,
      name: string,
      parts: typeof runs[number]["stages"],
    ) => {
      const total = (of: (part: typeof parts[number]) => number) => sum(parts.map(of));
      const [seconds, published] = [total((p) => p.seconds), total((p) => p.publishedHours)];
      const roofline = total((p) => p.roofline.seconds) / 3600;
      return [
        `${size} ${name}`,
        countText(total((p) => p.flops)),
        hoursText(seconds / 3600),
        hoursText(published),
        residualText(seconds / 3600, published),
        hoursText(roofline),
        parts.length === 1 ? parts[0].roofline.bound : "",
        `${Math.round(100 * roofline / published)} %`,
        dollarsText(total((p) => p.dollars)),
        dollarsText(published * fleet.devices * fleet.price),
      ];
    };
    const rooflineHead = ["roofline", "bound by", "reached"];
    print(table([
      ["run", "FLOPs", "hours", "paper", "residual", ...rooflineHead, "cost", "paper's cost"],
      ...runs.flatMap(({ size, stages }) => [
        ...stages.map((stage) => line(size, stage.kind, [stage])),
        line(size, "in all", stages),
      ]),
    ], columns()));
    const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
    print(`\n${
      table([
        ["stage", "of the peak", "fitted", "of the roofline", "fitted"],
        ...kinds.map(({ kind, assumed, fitted, reached }) => [
          kind,
          ...[assumed, fitted, reached.assumed, reached.fitted].map(percent),
        ]),
      ], columns())
    }`);
    print(
      `\nthe peak: ${countText(row.peak.bf16)}FLOP/s in bf16 a device; ` +
        `${dollarsText(fleet.price)} an hour of one (${row.priceFrom})\n`,
    );
    return { report: { fleet, runs, efficiencies: kinds } };
  },
});

if (import.meta.main) await main(calibrate);
