/** The stages of a recipe as numbers, for plans. */

import { costOf } from "../devices/null.ts";
import type { Stage } from "../dsl/stages.ts";
import { match } from "../dsl/trains.ts";
import { logitsBlock } from "../graph/decompose.ts";
import type { ModelSpec } from "../models/config.ts";
import { layerPrefix, modelParameters } from "../models/decoder.ts";
import type { Parameter } from "../models/parameter.ts";
import type { StageSize } from "../plan/budget.ts";
import { count } from "../plan/plan.ts";
import { NO_VOCABULARY, stageSequenceCost } from "./stage_cost.ts";
import { stageGraph, stageParameters, trainedParameters } from "./stage_graph.ts";

/** The largest part of a model that is gathered at once: a layer, or an embedding. */
function largestPart(spec: ModelSpec): number {
  const parameters = modelParameters(spec);
  const layers = spec.mixers.map((_, layer) =>
    count(parameters.filter(({ name }) => name.startsWith(layerPrefix(layer))))
  );
  return Math.max(spec.config.vocabSize * spec.config.hiddenSize, ...layers);
}

/** Bytes of the head and its loss as they must be: logits of a block, and the gradient's sum. */
function headBytes({ kind }: Stage, { config: { vocabSize, hiddenSize } }: ModelSpec): number {
  if (kind === "align") return 0;
  const logits = 4 * logitsBlock(Infinity, vocabSize, hiddenSize) * vocabSize;
  // The student's logits, their gradient, and the teacher's; what a block adds, and the sum.
  return 3 * logits + 2 * 4 * vocabSize * hiddenSize;
}

/** The first layer and the last, with a vocabulary of so many pieces. */
function shallow({ config, mixers }: ModelSpec, vocabulary = config.vocabSize): ModelSpec {
  const ends = mixers.length === 1 ? mixers : [mixers[0], mixers[mixers.length - 1]];
  return { config: { ...config, layers: ends.length, vocabSize: vocabulary }, mixers: ends };
}

/** The embedding or the head, whose gradients are as large as they are. */
const isVocabulary = ({ name }: Parameter) => /^(model\.embed_tokens|lm_head)\./.test(name);

/**
 * Bytes of the head and its loss in the program that this machine would run: by how much it is
 * larger than that of a model without a vocabulary. Of two layers, whatever the depth: the head is
 * the same, and the graph of a deep model takes minutes.
 */
function programHeadBytes(
  stage: Stage,
  student: ModelSpec,
  teacher: ModelSpec | undefined,
): number {
  if (stage.kind === "align") return 0;
  // What names layers may name none of the two.
  const trains = trainedParameters(stage, student, teacher).some(isVocabulary)
    ? "everything"
    : match("model.layers.*");
  const bytes = (vocabulary?: number) => {
    const [own, other] = [student, teacher].map((spec) => spec && shallow(spec, vocabulary));
    return costOf(stageGraph({ ...stage, trains }, own!, other).results).arenaBytes;
  };
  return Math.max(0, bytes() - bytes(NO_VOCABULARY));
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
    head: program ? programHeadBytes(stage, student, teacher) : headBytes(stage, student),
    trained,
    frozen: count(stageParameters(stage, student, teacher)) - trained,
    student: count(modelParameters(student)),
    teacher: teacher === undefined ? 0 : count(modelParameters(teacher)),
    usesTeacher: stage.kind === "align" || stage.kind === "distill",
    largest: largestPart(student),
  };
}
