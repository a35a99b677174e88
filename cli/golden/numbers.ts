/** Golden cases without tensors: points of the learning-rate schedule, slots of the sampling. */

import { cosine, learningRate } from "../../dsl/schedules.ts";
import { slotWalk } from "../../train/sampling.ts";
import type { SamplingCase, ScheduleCase } from "./manifest.ts";
import { type CaseResult, type WorstError, worstOf } from "./result.ts";

/** The rates of a schedule, each relative to the expected one. */
export function runSchedule({ totalSteps, warmup, init, final, points }: ScheduleCase): CaseResult {
  const schedule = cosine(init, final);
  const compared = points.map(([step, rate]) => ({
    tensor: `step ${step}`,
    found: [learningRate(schedule, step, totalSteps, warmup) / rate],
    expected: [1],
  }));
  return { name: "lr_schedule", outputs: worstOf(compared) };
}

/** The magic prime and the slots, which must be equal. */
export function runSampling({ tokens, context, prime, slots }: SamplingCase): CaseResult {
  const name = samplingName({ tokens, context });
  const walk = slotWalk(tokens, context);
  const wrong: WorstError[] = slots
    .filter(([sample, slot]) => walk.slot(sample) !== slot)
    .map(([sample]) => ({ error: Infinity, tensor: `sample ${sample}` }));
  if (walk.prime !== prime) wrong.unshift({ error: Infinity, tensor: "magic prime" });
  return { name, outputs: wrong[0] ?? { error: 0, tensor: `${slots.length} slots` } };
}

/** What a sampling case is called. */
export const samplingName = ({ tokens, context }: Pick<SamplingCase, "tokens" | "context">) =>
  `sampling ${tokens}/${context}`;
