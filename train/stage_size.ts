/** The stages of a recipe as numbers, for plans. */

import { layoutOf } from "../devices/store.ts";
import type { Stage } from "../dsl/stages.ts";
import { logitsBlock } from "../graph/decompose.ts";
import type { ModelSpec } from "../models/config.ts";
import { layerPrefix, modelParameters } from "../models/decoder.ts";
import type { StageSize } from "../plan/budget.ts";
import { count } from "../plan/plan.ts";
import { type ProgramCost, stageProgramCost, stageSequenceCost } from "./stage_cost.ts";
import { stageParameters, trainedParameters } from "./stage_graph.ts";
import { teacherParameters } from "./teacher.ts";

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

/**
 * Counts a stage.
 * @param program whether activations are those of the programs which this machine would run
 * @param teacherIsBf16 whether this machine has the teacher's matrices in bf16, as its checkpoint
 */
export function stageSize(
  stage: Stage,
  student: ModelSpec,
  teacher: ModelSpec | undefined,
  program: boolean,
  teacherIsBf16 = false,
): StageSize {
  const counted = program
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
  };
}
