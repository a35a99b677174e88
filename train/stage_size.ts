/** The stages of a recipe as numbers, for plans. */

import { costOf } from "../devices/null.ts";
import type { Stage } from "../dsl/stages.ts";
import { logitsBlock } from "../graph/decompose.ts";
import type { ModelSpec } from "../models/config.ts";
import { layerPrefix, modelParameters } from "../models/decoder.ts";
import type { StageSize } from "../plan/budget.ts";
import { count } from "../plan/plan.ts";
import { stageSequenceCost } from "./stage_cost.ts";
import { stageGraph, stageParameters, trainedParameters } from "./stage_graph.ts";

/** Layers of a model whose program is that of a deeper one but for the layers. */
const SHALLOW = 2;

/** The largest part of a model that is gathered at once: a layer, or an embedding. */
function largestPart(spec: ModelSpec): number {
  const parameters = modelParameters(spec);
  const layers = spec.mixers.map((_, layer) =>
    count(parameters.filter(({ name }) => name.startsWith(layerPrefix(layer))))
  );
  return Math.max(spec.config.vocabSize * spec.config.hiddenSize, ...layers);
}

const shallow = ({ config, mixers }: ModelSpec): ModelSpec => {
  const kept = mixers.length <= SHALLOW ? mixers : [mixers[0], mixers[mixers.length - 1]];
  return { config: { ...config, layers: kept.length }, mixers: kept };
};

/** Bytes of the head and its loss as they must be: logits of a block, and the gradient's sum. */
function headBytes({ kind }: Stage, { config: { vocabSize, hiddenSize } }: ModelSpec): number {
  if (kind === "align") return 0;
  const logits = 4 * logitsBlock(Infinity, vocabSize, hiddenSize) * vocabSize;
  // The student's logits, their gradient, and the teacher's; what a block adds, and the sum.
  return 3 * logits + 2 * 4 * vocabSize * hiddenSize;
}

/** Bytes of a program of two layers: the graph of a deep model takes minutes, its head is the same. */
function programBytes(stage: Stage, student: ModelSpec, teacher: ModelSpec | undefined): number {
  const { results } = stageGraph(stage, shallow(student), teacher && shallow(teacher));
  return costOf(results).arenaBytes;
}

/**
 * Counts a stage.
 * @param program whether the head's memory is that of the program which this machine would run
 */
export function stageSize(
  stage: Stage,
  student: ModelSpec,
  teacher: ModelSpec | undefined,
  program: boolean,
): StageSize {
  const rows = stage.batch / stage.accumulate;
  const counted = stageSequenceCost(stage, student, teacher);
  const other = stage.kind === "align"
    ? counted
    : stageSequenceCost({ ...stage, rematerialise: !stage.rematerialise }, student, teacher);
  const [kept, rematerialised] = stage.rematerialise ? [other, counted] : [counted, other];
  const trained = count(trainedParameters(stage, student, teacher));
  return {
    stage,
    flops: counted.flops,
    activations: {
      kept: kept.activationBytes,
      rematerialised: rematerialised.activationBytes,
    },
    head: program
      ? Math.max(0, programBytes(stage, student, teacher) - rows * counted.activationBytes)
      : headBytes(stage, student),
    trained,
    frozen: count(stageParameters(stage, student, teacher)) - trained,
    student: count(modelParameters(student)),
    teacher: teacher === undefined ? 0 : count(modelParameters(teacher)),
    usesTeacher: stage.kind === "align" || stage.kind === "distill",
    largest: largestPart(student),
  };
}
