/** `deno task plan`: what a recipe will do, layer by layer and stage by stage. */

import { costOf } from "../devices/null.ts";
import type { Device } from "../devices/device.ts";
import { RecipeError } from "../dsl/problem.ts";
import type { Recipe } from "../dsl/recipe.ts";
import { stepsOf } from "../dsl/stages.ts";
import * as g from "../graph/build.ts";
import { parseConfig } from "../formats/hf_config/config.ts";
import type { ModelSpec } from "../models/config.ts";
import { mixerForward, mixerParameters, mixerPrefix, modelParameters } from "../models/decoder.ts";
import { conversionOf } from "../plan/conversion.ts";
import { count, type Plan, planOf } from "../plan/plan.ts";
import { checkpointSpec } from "../plan/spec.ts";
import { stageGraph, stageProblems, trainedParameters } from "../train/stage_graph.ts";
import { existingTokenizer } from "../train/tokenizer_files.ts";
import { inspectTeacher } from "./checkpoints.ts";
import { command, main } from "./command.ts";
import { deviceFlags, withDevice } from "./device.ts";
import { clock } from "./progress.ts";
import { loadRecipe } from "./recipe_module.ts";
import { bytesText, countText, table } from "./table.ts";

/** Bytes that AdamW holds for a trained parameter: weight, gradient and two moments in f32. */
const TRAINED_BYTES = 16;
/** Share of the speed of matrix products that a whole training step reaches (bench/RESULTS.md). */
const EFFICIENCY = 0.55;

/** Tokens of the text that a layer's FLOPs are an average over. */
const LONG = 32768;

/** What a stage costs. */
interface StageCost {
  readonly flops: number;
  /** The student, what is trained of it with gradients and moments, the teacher, activations. */
  readonly bytes: number;
  /** On this machine, by the speed of its matrix products. */
  readonly seconds: number;
}

/** The teacher and the student of a recipe. */
async function modelsOf(recipe: Recipe) {
  if (recipe.teacher.kind === "new") {
    const { config, tokenizer } = recipe.teacher;
    const vocab_size = tokenizer.kind === "byteLevelBpe"
      ? tokenizer.pieces
      : existingTokenizer(tokenizer).tokenizer.vocabularySize;
    const whole = parseConfig({ vocab_size, ...config }, "teacher.config");
    return { student: checkpointSpec(whole, new Map()), from: undefined };
  }
  const teacher = await inspectTeacher(recipe.teacher);
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

/** FLOPs of a token in every layer's mixer, forward, as an average over a long text. */
function mixerFlops({ config, mixers }: ModelSpec): number[] {
  const known = new Map<string, number>();
  const flopsOf = (layer: number): number => {
    const half = config.headDim / 2;
    const width = config.attentionHeads * config.headDim;
    const { y } = mixerForward(mixers[layer], {
      config,
      layer,
      x: g.input("x", [1, LONG, config.hiddenSize]),
      weight: (name) => {
        const wanted = `${mixerPrefix(layer)}${name}`;
        const own = mixerParameters(config, mixers[layer], layer);
        return g.input(name, own.find((parameter) => parameter.name === wanted)!.shape);
      },
      cosine: g.input("cosine", [1, LONG, half]),
      sine: g.input("sine", [1, LONG, half]),
      firstValue: layer === 0
        ? undefined
        : g.input("firstValue", [1, LONG, width / config.headDim, config.headDim]),
    });
    return costOf([y]).flops / LONG;
  };
  return mixers.map((mixer, layer) => {
    // Layers of a kind differ only where the first has no value before it.
    const key = `${layer === 0} ${JSON.stringify(mixer)}`;
    const flops = known.get(key) ?? flopsOf(layer);
    known.set(key, flops);
    return flops;
  });
}

function stageCosts(
  recipe: Recipe,
  student: ModelSpec,
  teacher: ModelSpec | undefined,
  speed: number,
): StageCost[] {
  const models = [student, ...(teacher === undefined ? [] : [teacher])];
  const held = 4 * models.reduce((sum, spec) => sum + count(modelParameters(spec)), 0);
  return recipe.stages.map((stage) => {
    // One sequence is enough to count: everything but the optimizer grows with the batch.
    const rows = stage.batch / stage.accumulate;
    const one = { ...stage, batch: 1, accumulate: 1 };
    const graph = stageGraph(one, student, teacher);
    const cost = costOf(graph.results);
    const flops = cost.flops * stage.batch * stepsOf(stage);
    const bytes = held + TRAINED_BYTES * count(graph.trained) + 4 * count(graph.frozen) +
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
    const { student, from } = await modelsOf(recipe);
    const problems = stageProblems(recipe.stages, student, from?.spec);
    if (problems.length > 0) throw new RecipeError(problems);
    const trained = (i: number) => trainedParameters(recipe.stages[i], student, from?.spec);
    const planned = planOf(recipe, student, trained, from);
    const speed = await withDevice(flags, say, matmulSpeed);
    const costs = stageCosts(recipe, student, from?.spec, speed);
    const flops = mixerFlops(student);
    print(planText(planned, flops, costs, speed));
    const layers = planned.layers.map((layer, i) => ({ ...layer, flopsPerToken: flops[i] }));
    const stages = planned.stages.map((stage, i) => ({ ...stage, ...costs[i] }));
    return { report: { ...planned, layers, stages, matmulGflops: speed / 1e9 } };
  },
});

function planText(
  plan: Plan,
  flops: readonly number[],
  costs: readonly StageCost[],
  speed: number,
): string {
  const layers = table([
    ["layer", "from", "to", "parameters", "copied", "bytes", "FLOPs/token", "state at 32K"],
    ...plan.layers.map(({ layer, from, to, parameters, copied, stateBytes }, i) => [
      `${layer}`,
      from,
      to,
      countText(parameters),
      countText(copied),
      bytesText(4 * parameters),
      countText(Math.round(flops[i])),
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
    `training: ${countText(costs.reduce((sum, cost) => sum + cost.flops, 0))} FLOPs, ` +
    clock(costs.reduce((sum, cost) => sum + cost.seconds, 0)),
    `times are for this machine: ${(speed / 1e9).toFixed(0)} GFLOPS in matrix products, ` +
    `${Math.round(100 * EFFICIENCY)} % of that in a step`,
  ];
  return `${layers}\n${stages}\n${whole.join("\n")}\n`;
}

if (import.meta.main) await main(plan);
