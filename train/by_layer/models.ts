/** Models that stay on disk, where every stage of a recipe goes layer by layer. */

import { measuredAfter, type Recipe } from "../../dsl/recipe.ts";
import type { Stage } from "../../dsl/stages.ts";
import { openCheckpoint } from "../../formats/safetensors/checkpoint.ts";
import type { TensorStore } from "../../formats/safetensors/store.ts";
import type { TensorSource } from "../../formats/safetensors/write.ts";
import { size } from "../../graph/tensor.ts";
import type { ModelSpec } from "../../models/config.ts";
import { layerPrefix, modelParameters } from "../../models/decoder.ts";
import { openLayer, WEIGHTS_PREFIX } from "./files.ts";
import { evaluateLayers } from "./evaluation.ts";
import type { Evaluators } from "../measurement.ts";
import type { Origin } from "../origin.ts";
import type { RunOptions } from "../run.ts";
import type { RunFolder } from "../run_folder.ts";
import { layerOf, trainedParameters } from "../stage_graph.ts";
import { type StoredWeights, weightBlocks } from "../weights.ts";

/**
 * Whether a run of a recipe leaves both models on disk: every stage goes layer by layer, and no layer
 * goes back to attention after a measurement, which is made on whole models.
 */
export function isLayered(recipe: Pick<Recipe, "stages" | "surgery">): boolean {
  const { stages } = recipe;
  return stages.length > 0 && stages.every(({ streamed }) => streamed === true) &&
    measuredAfter(recipe) === undefined;
}

/** What the student's weights are made of. */
export interface LayeredRun {
  readonly recipe: Recipe;
  readonly origin: Origin;
  readonly folder: RunFolder;
}

/** The weights that stages have trained, from the files of their layers. */
export function trainedWeights(
  folder: string,
  stage: Stage,
  student: ModelSpec,
  teacher: ModelSpec,
): StoredWeights & { has(name: string): boolean } {
  const names = new Set(trainedParameters(stage, student, teacher).map(({ name }) => name));
  const files = new Map<number, TensorStore>();
  const fileOf = (layer: number): TensorStore => {
    const known = files.get(layer);
    if (known !== undefined) return known;
    const opened = openLayer(folder, layer);
    if (opened === undefined) throw new Error(`${folder}: layer ${layer} is not there`);
    files.set(layer, opened.file);
    return opened.file;
  };
  return {
    has: (name) => names.has(name),
    readRangeF32: (name, start, into) => {
      const layer = layerOf(name)!;
      const own = WEIGHTS_PREFIX + name.slice(layerPrefix(layer).length);
      fileOf(layer).readRangeF32(own, start, into);
    },
    [Symbol.dispose]: () => files.forEach((file) => file.close()),
  };
}

/** The student after some stages: what they trained, and all else as it began. Dispose it. */
export function layeredStudent(
  { recipe, origin, folder }: LayeredRun,
  stagesDone: number,
): StoredWeights {
  const stages = recipe.stages.slice(0, stagesDone).map((stage, i) =>
    trainedWeights(folder.layers(i), stage, origin.student, origin.teacher!.spec)
  ).reverse();
  const initial = origin.initial(recipe.seed);
  return {
    readRangeF32: (name, start, into) =>
      (stages.find((stage) => stage.has(name)) ?? initial).readRangeF32(name, start, into),
    [Symbol.dispose]: () => [...stages, initial].forEach((weights) => weights[Symbol.dispose]()),
  };
}

/** The student's tensors, which are read when their turn to be written comes. */
export function layeredTensors(
  { config, mixers }: ModelSpec,
  weights: StoredWeights,
): Omit<TensorSource, "dtype">[] {
  return modelParameters({ config, mixers }).map(({ name, shape }) => ({
    name,
    shape,
    data: () => weightBlocks(weights, name, size(shape)),
  }));
}

/** Measures models on disk, a layer at a time. */
export function layeredEvaluators(
  run: LayeredRun & { readonly options: Pick<RunOptions, "device" | "scratchBytes"> },
): Evaluators {
  const { origin, folder, options: { device, scratchBytes } } = run;
  const evaluate =
    (spec: ModelSpec, weights: StoredWeights): Evaluators["student"] =>
    async (tokens, context, onProgress) => {
      using opened = weights;
      return await evaluateLayers(
        {
          device,
          spec,
          weights: opened,
          folder: folder.path,
          scratchBytes,
          onProgress,
        },
        tokens,
        context,
      );
    };
  const teacher = origin.teacher!;
  return {
    teacher: (...all) => evaluate(teacher.spec, openCheckpoint(teacher.folder))(...all),
    student: (tokens, context, onProgress, stagesDone) =>
      evaluate(origin.student, layeredStudent(run, stagesDone))(
        tokens,
        context,
        onProgress,
        stagesDone,
      ),
  };
}
