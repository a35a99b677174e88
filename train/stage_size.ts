/** The stages of a recipe as numbers, for plans. */

import { costOf } from "../devices/null.ts";
import type { Stage } from "../dsl/stages.ts";
import { logitsBlock } from "../graph/decompose.ts";
import type { ModelSpec } from "../models/config.ts";
import { layerPrefix, modelParameters } from "../models/decoder.ts";
import type { StageSize } from "../plan/budget.ts";
import { count } from "../plan/plan.ts";
import { stageSequenceCost } from "./stage_cost.ts";
import { stageGraph } from "./stage_graph.ts";

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
  const logits = 4 * logitsBlock(Infinity, vocabSize) * vocabSize;
  // The student's logits, their gradient, and the teacher's; what a block adds, and the sum.
  return 3 * logits + 2 * 4 * vocabSize * hiddenSize;
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
  // Of two layers: the graph of a deep model would take minutes, and its head is the same.
  const graph = stageGraph(stage, shallow(student), teacher && shallow(teacher));
  const held = program
    ? Math.max(0, costOf(graph.results).arenaBytes - rows * counted.activationBytes)
    : headBytes(stage, student);
  const { trained, frozen } = stageGraph(stage, student, teacher);
  return {
    stage,
    flops: counted.flops,
    activations: {
      kept: kept.activationBytes,
      rematerialised: rematerialised.activationBytes,
    },
    head: held,
    trained: count(trained),
    frozen: count(frozen),
    student: count(modelParameters(student)),
    teacher: teacher === undefined ? 0 : count(modelParameters(teacher)),
    usesTeacher: stage.kind === "align" || stage.kind === "distill",
    largest: largestPart(student),
  };
}
