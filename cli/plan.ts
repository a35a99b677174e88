/** `deno task plan`: what a recipe will do, layer by layer and stage by stage. */

import { stageSpeeds } from "../bench/stage_speed.ts";
import { CPU_MEMORY_LIMIT } from "../devices/cpu/memory.ts";
import { RecipeError } from "../dsl/problem.ts";
import type { StageKind } from "../dsl/stages.ts";
import type { ModelSpec } from "../models/config.ts";
import { stageBudget, THIS_MACHINE } from "../plan/budget.ts";
import { type Fleet, fleetOf, FLEETS_TEXT } from "../plan/fleets.ts";
import { isRated, stageRoofline } from "../plan/roofline.ts";
import { planOf } from "../plan/plan.ts";
import { publishedHours } from "../plan/published.ts";
import { isLayered } from "../train/by_layer/models.ts";
import { stageKernels } from "../train/stage_kernels.ts";
import { stageProblems, trainedParameters } from "../train/stage_graph.ts";
import { stageSize } from "../train/stage_size.ts";
import { command, main } from "./command/command.ts";
import { deviceFlags, withDevice } from "./device.ts";
import {
  absent,
  type FlagValues,
  optional,
  path,
  real,
  text,
  toggle,
  UsageError,
} from "./command/flags.ts";
import { mixerFlops } from "./plan/layer_flops.ts";
import { planText } from "./plan/text.ts";
import { isBf16, modelsOf } from "./plan/models.ts";
import { loadRecipe, RECIPE } from "./recipe/module.ts";
import { rooflineText } from "./plan/roofline.ts";

const HERE = "this machine";

const FLAGS = {
  on: optional(text("FLEET", `what it is planned for: ${FLEETS_TEXT}`), HERE),
  price: absent(
    real("DOLLARS", "of an hour of one device", "a price from 0", (price) => price >= 0),
    "the fleet's",
  ),
  config: absent(path("FILE", "config.json to plan for in place of the teacher's"), "none"),
  roofline: toggle("also the time of every kind of kernel at the limits of the fleet's devices"),
  ...deviceFlags,
};

/** What the flags name; this machine's speed is measured for the stages at hand. */
async function fleetFor(
  flags: FlagValues<typeof FLAGS>,
  kinds: readonly StageKind[],
  { mixers }: ModelSpec,
  say: (line: string) => void,
): Promise<Fleet> {
  if (flags.on !== HERE) {
    const fleet = fleetOf(flags.on);
    if (fleet === undefined) {
      throw new UsageError(`--on: expected ${FLEETS_TEXT}, found ${JSON.stringify(flags.on)}`);
    }
    return { ...fleet, price: flags.price ?? fleet.price };
  }
  const mixer = mixers.some(({ kind }) => kind === "radRwkv6") ? "rwkv6" : "rwkv7";
  const speed = await withDevice(flags, say, (device) => stageSpeeds(device, kinds, mixer));
  return {
    name: HERE,
    ...THIS_MACHINE,
    speed: { align: NaN, distill: NaN, finetune: NaN, pretrain: NaN, ...speed },
    memory: Math.min(Deno.systemMemoryInfo().total, CPU_MEMORY_LIMIT),
    price: flags.price ?? 0,
  };
}

/** The command. */
export const plan = command({
  name: "plan",
  summary: "shows what a recipe will do and take: every layer's fate, bytes, FLOPs, time, money",
  arguments: { RECIPE },
  flags: FLAGS,
  run: async ({ arguments: { RECIPE: named }, flags }, { print, say, columns }) => {
    if (flags.roofline && flags.on === HERE) {
      throw new UsageError(
        `--roofline: expected --on a fleet whose peaks are known: ${FLEETS_TEXT}`,
      );
    }
    const recipe = await loadRecipe(named);
    const { student, from } = await modelsOf(recipe, flags.config);
    const problems = stageProblems(recipe, student, from?.spec, from?.conversion.choice);
    if (problems.length > 0) throw new RecipeError(problems);
    const trained = (i: number) => trainedParameters(recipe.stages[i], student, from?.spec);
    const planned = planOf(recipe, student, trained, from);
    const fleet = await fleetFor(flags, recipe.stages.map(({ kind }) => kind), student, say);
    const sizes = recipe.stages.map((stage) =>
      stageSize(stage, student, from?.spec, {
        programs: fleet.holdsModels,
        teacherIsBf16: isBf16(from?.config),
        staysOnDisk: isLayered(recipe),
      })
    );
    const budgets = sizes.map((size) => stageBudget(size, fleet));
    const layerFlops = mixerFlops(student);
    const published = publishedHours(recipe, student, fleet);
    print(planText({ plan: planned, layerFlops, budgets, fleet, published }, columns()));
    const rated = flags.roofline && isRated(fleet) ? fleet : undefined;
    const rooflines = rated && sizes.map((size) => {
      const kernels = stageKernels(size.stage, student, from?.spec, rated.devices);
      return stageRoofline(size, kernels, rated);
    });
    if (rooflines !== undefined) {
      const stages = rooflines.map((roofline, i) => ({
        stage: recipe.stages[i],
        planned: budgets[i].seconds,
        roofline,
      }));
      print(`\n${rooflineText(stages, rated!, columns())}`);
    }
    const layers = planned.layers.map((layer, i) => ({ ...layer, flopsPerToken: layerFlops[i] }));
    const stages = planned.stages.map((stage, i) => ({
      ...stage,
      ...budgets[i],
      ...(published === undefined ? {} : { publishedHours: published[i] }),
      ...(rooflines === undefined ? {} : { roofline: rooflines[i] }),
    }));
    return { report: { ...planned, layers, stages, fleet } };
  },
});

if (import.meta.main) await main(plan);
