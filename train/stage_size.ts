/** The stages of a recipe as numbers, for plans. */

import { costOf } from "../devices/null.ts";
import { layoutOf } from "../devices/store.ts";
import type { Stage } from "../dsl/stages.ts";
import { logitsBlock } from "../graph/decomposition.ts";
import { size } from "../graph/tensor.ts";
import type { ModelSpec } from "../models/config.ts";
import { layerPrefix, modelParameters } from "../models/decoder.ts";
import type { StageSize, StreamedSize } from "../plan/budget.ts";
import { count } from "../plan/plan.ts";
import { type ProgramCost, stageProgramCost, stageSequenceCost } from "./stage_cost.ts";
import { stageParameters, trainedParameters } from "./stage_graph.ts";
import { layerGraph, type LayerRole, partShapes, streamedLayers } from "./by_layer/layers.ts";
import { teacherParameters } from "./teacher.ts";

/** The largest part of a model that is gathered at once: a layer, or an embedding. */
function largestPart(spec: ModelSpec): number {
  const parameters = modelParameters(spec);
  const layers = spec.mixers.map((_, layer) =>
    count(parameters.filter(({ name }) => name.startsWith(layerPrefix(layer))))
  );
  return Math.max(spec.config.vocabSize * spec.config.hiddenSize, ...layers);
}

/**
 * Bytes of the head and its loss as they must be: logits of a block, and the gradient's sum, to which
 * each block's product is added in place.
 */
function headBytes({ kind }: Stage, { config: { vocabSize, hiddenSize } }: ModelSpec): number {
  if (kind === "align") return 0;
  const logits = 4 * logitsBlock(Infinity, vocabSize, hiddenSize) * vocabSize;
  // The student's logits, their gradient, and the teacher's.
  return 3 * logits + 4 * vocabSize * hiddenSize;
}

/** FLOPs and bytes of a sequence, and bytes of the head whatever the number of sequences. */
type Counted = Pick<StageSize, "flops" | "activations" | "head">;

/**
 * The programs that this machine would run: what they take for a part of a batch, of which the
 * head's logits and gradient are put down as they must be at least.
 */
function programSize(stage: Stage, student: ModelSpec, teacher: ModelSpec | undefined): Counted {
  const rows = stage.batch / stage.accumulate;
  const cost = (rematerialise: boolean) =>
    stageProgramCost({ ...stage, rematerialise }, student, teacher);
  const kept = cost(false);
  const again = stage.kind === "align" ? kept : cost(true);
  const head = Math.min(headBytes(stage, student), kept.arenaBytes, again.arenaBytes);
  const sequence = ({ arenaBytes }: ProgramCost) => (arenaBytes - head) / rows;
  return {
    flops: (stage.rematerialise ? again : kept).flops / rows,
    activations: { kept: sequence(kept), rematerialised: sequence(again) },
    head,
  };
}

/** The same as a fleet's devices hold it. */
function sequenceSize(stage: Stage, student: ModelSpec, teacher: ModelSpec | undefined): Counted {
  const counted = stageSequenceCost(stage, student, teacher);
  const other = stage.kind === "align"
    ? counted
    : stageSequenceCost({ ...stage, rematerialise: !stage.rematerialise }, student, teacher);
  const [kept, rematerialised] = stage.rematerialise ? [other, counted] : [counted, other];
  return {
    flops: counted.flops,
    activations: { kept: kept.activationBytes, rematerialised: rematerialised.activationBytes },
    head: headBytes(stage, student),
  };
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

/** How a stage is counted. */
export interface StageSizeOptions {
  /** Whether activations are those of the programs which this machine would run. */
  readonly programs?: boolean;
  /** Whether this machine has the teacher's matrices in bf16, as its checkpoint. */
  readonly teacherIsBf16?: boolean;
  /** Whether both models stay on disk, because all stages of the run go layer by layer. */
  readonly staysOnDisk?: boolean;
}

/** Counts a stage. */
export function stageSize(
  stage: Stage,
  student: ModelSpec,
  teacher: ModelSpec | undefined,
  { programs = false, teacherIsBf16 = false, staysOnDisk = false }: StageSizeOptions = {},
): StageSize {
  // By layer, none of the programs is the whole.
  const counted = programs && !stage.streamed
    ? programSize(stage, student, teacher)
    : sequenceSize(stage, student, teacher);
  const trained = count(trainedParameters(stage, student, teacher));
  const dtypeOf = () => teacherIsBf16 ? "BF16" : "F32";
  return {
    stage,
    ...counted,
    trained,
    frozen: count(stageParameters(stage, student, teacher)) - trained,
    student: count(modelParameters(student)),
    teacher: teacher === undefined ? 0 : count(modelParameters(teacher)),
    teacherBytes: teacher === undefined
      ? 0
      : 4 * layoutOf(teacherParameters(teacher, dtypeOf)).size,
    usesTeacher: stage.kind === "align" || stage.kind === "distill",
    largest: largestPart(student),
    layers: student.mixers.length,
    ...(stage.streamed && { streamed: streamedSize(stage, student, teacher!, staysOnDisk) }),
  };
}
