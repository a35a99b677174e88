/** Bytes that a device must be able to hold for a run. */

import type { Stage } from "../dsl/stages.ts";
import { logitsBlock } from "../graph/decomposition.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import { stageMemory, THIS_MACHINE } from "../plan/budget.ts";
import { count } from "../plan/plan.ts";
import { stageSize, type StageSizeOptions } from "./stage_size.ts";

/** Copies of the student at most: its own, that of a stage, its gradients and two moments. */
const STUDENTS = 5;
/** f32 values that no layer holds more of, for every token: so many times its two widths. */
const HIDDEN = 80;
const INTERMEDIATE = 20;

/** More than a stage takes, without counting it. */
export function memoryBound(stage: Stage, student: ModelSpec, teacher?: ModelSpec): number {
  const { config } = student;
  const { hiddenSize, intermediateSize, vocabSize, layers } = config;
  const of = (spec: ModelSpec) => count(modelParameters(spec));
  const tokens = stage.batch / stage.accumulate * stage.context;
  const head = vocabSize * (hiddenSize + logitsBlock(tokens, vocabSize, hiddenSize));
  const layer = HIDDEN * hiddenSize + INTERMEDIATE * intermediateSize;
  return 4 * (STUDENTS * of(student) + (teacher === undefined ? 0 : of(teacher)) +
    tokens * layers * layer + 4 * head);
}

/**
 * What the stages of a run take of a device, whichever takes most: a bound where that is little,
 * and counted, which takes a second a stage, where it might be more.
 * @param enough bytes up to which a bound will do
 */
export function memoryNeed(
  stages: readonly Stage[],
  student: ModelSpec,
  teacher: ModelSpec | undefined,
  { teacherIsBf16, staysOnDisk }: Pick<StageSizeOptions, "teacherIsBf16" | "staysOnDisk">,
  enough: number,
): number {
  const bound = (stage: Stage) => memoryBound(stage, student, teacher);
  const counted = (stage: Stage) => {
    const size = stageSize(stage, student, teacher, {
      programs: true,
      teacherIsBf16,
      staysOnDisk,
    });
    const { total, process } = stageMemory(size, THIS_MACHINE);
    return total - process;
  };
  return Math.max(
    0,
    ...stages.map((stage) => bound(stage) <= enough ? bound(stage) : counted(stage)),
  );
}
