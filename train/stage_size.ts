/** The stages of a recipe as numbers, for plans. */

import { costOf } from "../devices/null.ts";
import type { Stage } from "../dsl/stages.ts";
import { match } from "../dsl/trains.ts";
import { logitsBlock } from "../graph/decompose.ts";
import { size } from "../graph/tensor.ts";
import type { ModelSpec } from "../models/config.ts";
import { layerPrefix, modelParameters } from "../models/decoder.ts";
import type { Parameter } from "../models/parameter.ts";
import type { StageSize, StreamedSize } from "../plan/budget.ts";
import { count } from "../plan/plan.ts";
import { NO_VOCABULARY, stageSequenceCost } from "./stage_cost.ts";
import { stageGraph, stageParameters, trainedParameters } from "./stage_graph.ts";
import { layerGraph, type LayerRole, partShapes, streamedLayers } from "./streamed_layers.ts";

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

/** The largest layer of a stage that goes layer by layer. */
function streamedSize(
  stage: Stage,
  student: ModelSpec,
  teacher: ModelSpec,
  alone: boolean,
): StreamedSize {
  const one = { ...stage, batch: 1, accumulate: 1 };
  const layers = streamedLayers(one, student, teacher);
  const { stream, value } = partShapes(layers);
  const passed = 4 * (2 * size(stream) + layers.values.length * size(value));
  const roles = [...new Map(layers.roles.map((role) => [role.key, role])).values()];
  const arenas = roles.map((role) => {
    const { loss, passed } = layerGraph(layers, role);
    return costOf([...loss, ...Object.values(passed)]).arenaBytes;
  });
  const values = ({ given, frozen, trained }: LayerRole) =>
    count([...given, ...frozen, ...trained]);
  // What is trained is four times there.
  const weight = (role: LayerRole) => values(role) + 3 * count(role.trained);
  const largest = roles.reduce((a, b) => weight(b) > weight(a) ? b : a);
  const trained = count(largest.trained);
  return {
    trained,
    frozen: values(largest) - trained,
    activations: passed + Math.max(...arenas),
    alone,
  };
}

/**
 * Counts a stage.
 * @param program whether the head's memory is that of the program which this machine would run
 * @param alone whether the models of a run whose stages all go layer by layer stay on disk
 */
export function stageSize(
  stage: Stage,
  student: ModelSpec,
  teacher: ModelSpec | undefined,
  program: boolean,
  alone = false,
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
    ...(stage.streamed && { streamed: streamedSize(stage, student, teacher!, alone) }),
  };
}
