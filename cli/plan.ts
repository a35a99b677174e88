/** `deno task plan`: what a recipe will do, layer by layer and stage by stage. */

import { costOf } from "../devices/null.ts";
import type { Device } from "../devices/device.ts";
import type { Recipe } from "../dsl/recipe.ts";
import * as g from "../graph/build.ts";
import { parseConfig } from "../formats/hf_config/config.ts";
import { inspectCheckpoint } from "../infer/load.ts";
import type { ModelSpec } from "../models/config.ts";
import { conversionOf } from "../plan/conversion.ts";
import { count, type Plan, planOf } from "../plan/plan.ts";
import { checkpointSpec } from "../plan/spec.ts";
import { stageGraph, trainedParameters } from "../train/stage_graph.ts";
import { command, main } from "./command.ts";
import { deviceFlags, withDevice } from "./device.ts";
import { clock } from "./progress.ts";
import { loadRecipe } from "./recipe_module.ts";
import { bytesText, countText, table } from "./table.ts";

/** Bytes that AdamW holds for a trained parameter: weight, gradient and two moments in f32. */
const TRAINED_BYTES = 16;
/** Share of the speed of matrix products that a whole training step reaches (bench/RESULTS.md). */
const EFFICIENCY = 0.55;

/** What a stage costs. */
interface StageCost {
  readonly flops: number;
  /** Weights, gradients, moments, the frozen rest, the teacher, and activations. */
  readonly bytes: number;
  /** On this machine, by the speed of its matrix products. */
  readonly seconds: number;
}

/** The teacher and the student of a recipe. */
function modelsOf(recipe: Recipe) {
  if (recipe.teacher.kind === "new") {
    const { config, tokenizer } = recipe.teacher;
    const pieces = tokenizer.kind === "byteLevelBpe" ? { vocab_size: tokenizer.pieces } : {};
    const student = checkpointSpec(
      parseConfig({ ...pieces, ...config }, "teacher.config"),
      new Map(),
    );
    return { student, from: undefined };
  }
  const teacher = inspectCheckpoint(recipe.teacher.location);
  const conversion = conversionOf(recipe, teacher);
  return { student: conversion.student, from: { ...teacher, conversion } };
}

/** GFLOPS of a matrix product on a device, from the fastest of a few runs. */
async function matmulSpeed(device: Device): Promise<number> {
  const n = 512;
  const memory = { a: device.allocate(4 * n * n), b: device.allocate(4 * n * n) };
  const result = device.allocate(4 * n * n);
  const product = g.matmul(g.input("a", [n, n]), g.input("b", [n, n]), { transposeB: true });
  const executable = device.compile([product], { inputs: memory, results: [result] });
  let best = Infinity;
  const one = new Float32Array(1);
  for (let run = 0; run < 12; run++) {
    const start = performance.now();
    executable.run();
    await device.read(result, one);
    best = Math.min(best, (performance.now() - start) / 1000);
  }
  executable.free();
  [memory.a, memory.b, result].forEach(device.free);
  return 2 * n ** 3 / best;
}

function stageCosts(
  recipe: Recipe,
  student: ModelSpec,
  teacher: ModelSpec | undefined,
  speed: number,
): StageCost[] {
  return recipe.stages.map((stage) => {
    // One sequence is enough to count: everything but the optimizer grows with the batch.
    const rows = stage.batch / stage.accumulate;
    const one = { ...stage, batch: 1, accumulate: 1 };
    const graph = stageGraph(one, student, teacher);
    const cost = costOf(graph.results);
    const steps = Math.floor(stage.tokens / (stage.batch * stage.context));
    const flops = cost.flops * stage.batch * steps;
    const bytes = TRAINED_BYTES * count(graph.trained) + 4 * count(graph.frozen) +
      cost.arenaBytes * rows;
    return { flops, bytes, seconds: flops / (EFFICIENCY * speed) };
  });
}

/** The command. */
export const plan = command({
  name: "plan",
  summary: "shows what a recipe will do: every layer's fate, parameters, bytes, FLOPs and time",
  arguments: { RECIPE: "a recipe module (.ts, .js) or a recipe as JSON" },
  flags: deviceFlags,
  run: async ({ arguments: { RECIPE }, flags }, { print, say }) => {
    const recipe = await loadRecipe(RECIPE);
    const { student, from } = modelsOf(recipe);
    const trained = (i: number) => trainedParameters(recipe.stages[i], student);
    const planned = planOf(recipe, student, trained, from);
    const speed = await withDevice(flags, say, matmulSpeed);
    const costs = stageCosts(recipe, student, from?.spec, speed);
    print(planText(planned, costs, speed));
    const stages = planned.stages.map((stage, i) => ({ ...stage, ...costs[i] }));
    return { report: { ...planned, stages, matmulGflops: speed / 1e9 } };
  },
});

function planText(plan: Plan, costs: readonly StageCost[], speed: number): string {
  const layers = table([
    ["layer", "from", "to", "parameters", "copied", "state at 32K"],
    ...plan.layers.map(({ layer, from, to, parameters, copied, stateBytes }) => [
      `${layer}`,
      from,
      to,
      countText(parameters),
      countText(copied),
      bytesText(stateBytes),
    ]),
  ]);
  const stages = table([
    ["stage", "kind", "steps", "tokens", "context", "batch", "trains", "FLOPs", "memory", "time"],
    ...plan.stages.map((stage, i) => [
      stage.name,
      stage.kind,
      `${stage.steps}`,
      countText(stage.tokens),
      `${stage.context}`,
      `${stage.batch}`,
      countText(stage.trained),
      countText(costs[i].flops),
      bytesText(costs[i].bytes),
      clock(costs[i].seconds),
    ]),
  ]);
  const { teacher } = plan;
  const whole = [
    `student: ${countText(plan.parameters)} parameters, ${bytesText(plan.weightBytes)} in f32, ` +
    `state at 32K ${bytesText(plan.stateBytesAt32K)}`,
    ...(teacher === undefined ? [] : [
      `teacher: ${countText(teacher.parameters)} parameters, ` +
      `state at 32K ${bytesText(teacher.stateBytesAt32K)}`,
    ]),
    `times are for this machine: ${(speed / 1e9).toFixed(0)} GFLOPS in matrix products, ` +
    `${100 * EFFICIENCY} % of that in a step`,
  ];
  return `${layers}\n${stages}\n${whole.join("\n")}\n`;
}

if (import.meta.main) await main(plan);
