/** A stage as a graph: what a device computes for a part of a batch. */

import type { Store } from "../devices/store.ts";
import type { Problem } from "../dsl/problem.ts";
import { measuredAfter, type Recipe } from "../dsl/recipe.ts";
import type { Stage } from "../dsl/stages.ts";
import type { Choice } from "../dsl/surgery.ts";
import { isTrained } from "../dsl/trains.ts";
import * as g from "../graph/build.ts";
import { gradients } from "../graph/gradient.ts";
import { rematerialisedGradients } from "../graph/rematerialisation.ts";
import type { Tensor, WeightDType } from "../graph/tensor.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import type { Parameter } from "../models/parameter.ts";
import {
  alignLoss,
  alignLosses,
  type Batch,
  distillLosses,
  isAligned,
  type Model,
  textLosses,
} from "./losses.ts";

/** The layer that a parameter belongs to. */
export const layerOf = (name: string): number | undefined => {
  const layer = /^model\.layers\.(\d+)\./.exec(name)?.[1];
  return layer === undefined ? undefined : Number(layer);
};

/** The parameters that a stage reads: in stage 1 only the mixers of layers that learn there. */
export function stageParameters(
  stage: Stage,
  student: ModelSpec,
  teacher?: ModelSpec,
): Parameter[] {
  const all = modelParameters(student);
  if (stage.kind !== "align") return all;
  return all.filter(({ name, mixer }) => mixer && isAligned(student, teacher, layerOf(name)!));
}

const isConverted = ({ mixers }: ModelSpec, name: string): boolean => {
  const layer = layerOf(name);
  return layer !== undefined && mixers[layer].kind !== "attention";
};

/** The parameters that a stage trains, in checkpoint order. */
export function trainedParameters(
  stage: Stage,
  student: ModelSpec,
  teacher?: ModelSpec,
): Parameter[] {
  return stageParameters(stage, student, teacher).filter(({ name, mixer }) =>
    isTrained(stage.trains, name, mixer && isConverted(student, name))
  );
}

/** Those of the parameters that belong to the mixers of converted layers. */
export function convertedMixers(parameters: readonly Parameter[], student: ModelSpec): Parameter[] {
  return parameters.filter(({ name, mixer }) => mixer && isConverted(student, name));
}

/**
 * Layers of a choice without which a stage would train nothing: as many as the choice has, and all
 * in which it trains something. Undefined where it always has something left.
 */
function neededLayers(
  stage: Stage,
  student: ModelSpec,
  teacher: ModelSpec,
  { layers, count }: Choice,
): readonly number[] | undefined {
  const keeping = (kept: readonly number[]): ModelSpec => ({
    ...student,
    mixers: student.mixers.map((mixer, i) => kept.includes(i) ? teacher.mixers[i] : mixer),
  });
  const trained = (spec: ModelSpec) => trainedParameters(stage, spec, teacher);
  const layersOf = (spec: ModelSpec) => new Set(trained(spec).map(({ name }) => layerOf(name)));
  const [converted, back] = [layersOf(student), layersOf(keeping(layers))];
  const order = (layer: number) => converted.has(layer) ? 0 : back.has(layer) ? 2 : 1;
  const kept = layers.toSorted((a, b) => order(a) - order(b)).slice(0, count);
  return trained(keeping(kept)).length === 0 ? kept.toSorted((a, b) => a - b) : undefined;
}

/**
 * Stages that would train nothing, or have a rate for mixers that they do not train. Where layers
 * go back to attention after a measurement, a stage that comes later must have something to train
 * whichever layers these are.
 * @param teacher of a conversion: what is its own is not aligned
 * @param choice the layers of which some go back
 */
export function stageProblems(
  recipe: Pick<Recipe, "surgery" | "stages">,
  student: ModelSpec,
  teacher?: ModelSpec,
  choice?: Choice,
): Problem[] {
  const measured = measuredAfter(recipe) ?? Infinity;
  return recipe.stages.flatMap((stage, i) => {
    const trained = trainedParameters(stage, student, teacher);
    const among = stage.kind === "align" ? "the converted layers' mixers" : "the student";
    const found = typeof stage.trains === "string" ? stage.trains : stage.trains.globs.join(", ");
    const problem = (whichever: string, where: string): Problem => ({
      path: `stages[${i}].trains`,
      expected: `at least one tensor of ${among}${whichever}`,
      found: `none${where}: ${JSON.stringify(found)}`,
    });
    if (trained.length === 0) return [problem("", "")];
    if (stage.mixerLr !== undefined && convertedMixers(trained, student).length === 0) {
      return [{
        path: `stages[${i}].mixerLr`,
        expected: "a stage that trains a converted layer's mixer",
        found: `none among the ${trained.length} tensors that it trains`,
      }];
    }
    if (choice === undefined || i < measured) return [];
    const needed = neededLayers(stage, student, teacher!, choice);
    return needed === undefined ? [] : [problem(
      `, whichever ${choice.count} of the layers ${choice.layers.join(", ")} keep attention`,
      ` where these are ${needed.join(", ")}`,
    )];
  });
}

/** The scalar loss of a batch, [1], and from where its forward pass can be computed again. */
function stageLoss(
  stage: Stage,
  batch: Batch,
  student: Model,
  teacher?: Model,
): { loss: Tensor; streams: readonly Tensor[] } {
  const { kind } = stage;
  switch (kind) {
    case "align":
      // Layers are independent of one another: each is done before the next one starts.
      return { loss: alignLoss(teacher!, student, batch), streams: [] };
    case "distill":
    case "finetune":
    case "pretrain": {
      const { losses, streams } = kind === "distill"
        ? distillLosses(teacher!, student, batch)
        : textLosses(student, batch);
      return { loss: g.meanAll(losses), streams };
    }
    default:
      return kind satisfies never;
  }
}

/** The inputs and results of a stage's graph. */
export interface StageGraph {
  readonly trained: readonly Parameter[];
  readonly frozen: readonly Parameter[];
  /** The loss, [1], divided by the number of parts of a batch; then the gradients of `trained`. */
  readonly results: readonly Tensor[];
}

/**
 * The results of a later part of an accumulated batch: each is added to what the earlier parts left,
 * the input `gradient.` and the parameter's name, or `gradient.loss`.
 */
export function accumulated({ trained, results }: StageGraph): Tensor[] {
  const names = ["loss", ...trained.map(({ name }) => name)];
  return results.map((t, i) => g.add(g.input(`gradient.${names[i]}`, t.shape), t));
}

/** Prefix of the teacher's parameters, which keeps the two models apart. */
export const TEACHER_PREFIX = "teacher.";

/** The batch of a graph, as inputs. */
function batchInputs({ config }: ModelSpec, rows: number, context: number): Batch {
  const half = config.headDim / 2;
  return {
    ids: g.input("ids", [rows, context], "i32"),
    targets: g.input("targets", [rows * context], "i32"),
    cosine: g.input("cosine", [1, context, half]),
    sine: g.input("sine", [1, context, half]),
  };
}

/** How the teacher's weights are stored, by name; all f32 where nothing is said. */
export type TeacherTypes = ReadonlyMap<string, WeightDType | undefined>;

/** How the weights of a store are stored. */
export const typesIn = ({ layout }: Pick<Store, "layout">): TeacherTypes =>
  new Map(layout.tensors.map(({ name, dtype }) => [name, dtype]));

/** A model of a graph, its parameters as inputs. */
function modelInputs(spec: ModelSpec, prefix: string, types?: TeacherTypes): Model {
  const inputs = new Map(
    modelParameters(spec).map(({ name, shape }) => [
      name,
      g.input(prefix + name, shape, types?.get(name)),
    ]),
  );
  return { spec, weight: (name) => inputs.get(name)! };
}

/**
 * The stage-1 loss of every converted layer over one sequence, without gradients. The inputs are
 * those of `stageGraph`.
 */
export function alignmentGraph(
  student: ModelSpec,
  teacher: ModelSpec,
  context: number,
  types?: TeacherTypes,
) {
  const models = [modelInputs(teacher, TEACHER_PREFIX, types), modelInputs(student, "")] as const;
  return alignLosses(...models, batchInputs(student, 1, context));
}

/**
 * The graph of one part of a batch. Its inputs are `ids` [rows, context] and `targets`
 * [rows·context] i32, `cosine` and `sine` [1, context, headDim/2], the student's parameters by
 * name and the teacher's with a prefix.
 */
export function stageGraph(
  stage: Stage,
  student: ModelSpec,
  teacher?: ModelSpec,
  types?: TeacherTypes,
): StageGraph {
  const { context, accumulate } = stage;
  const rows = stage.batch / accumulate;
  const trained = trainedParameters(stage, student, teacher);
  const names = new Set(trained.map(({ name }) => name));
  const frozen = stageParameters(stage, student, teacher).filter(({ name }) => !names.has(name));
  const own = modelInputs(student, "");
  const other = teacher && modelInputs(teacher, TEACHER_PREFIX, types);
  const whole = stageLoss(stage, batchInputs(student, rows, context), own, other);
  const loss = g.mul(whole.loss, 1 / accumulate);
  const wanted = trained.map(({ name }) => own.weight(name));
  const differentiated = stage.rematerialise
    ? rematerialisedGradients(loss, wanted, whole.streams)
    : gradients(loss, wanted);
  return { trained, frozen, results: [loss, ...differentiated] };
}
