/** Where every parameter of a student comes from (paper, section 3.3). */

import type { Mixer, Projection } from "../dsl/mixers.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import type { Parameter } from "../models/parameter.ts";

/** A parameter and the teacher's tensor that it starts as, if any. */
export interface Transfer {
  readonly parameter: Parameter;
  /** Name of the teacher's tensor; without one it starts from its own initial values. */
  readonly from?: string;
}

/** The tensors of a projection; those of the norm that follows it, if one does, are part of it. */
const PROJECTIONS: Readonly<Record<Projection, readonly string[]>> = {
  receptance: ["q_proj", "q_norm"],
  key: ["k_proj", "k_norm"],
  value: ["v_proj"],
  output: ["o_proj"],
};

/** Whether a recipe asks for a projection to be initialised anew. */
function isReinitialised(name: string, mixers: readonly Mixer[]): boolean {
  const match = /^model\.layers\.(\d+)\.self_attn\.([a-z]_(?:proj|norm))\./.exec(name);
  if (match === null) return false;
  const mixer = mixers[Number(match[1])];
  return mixer.kind !== "attention" &&
    mixer.reinitialise.some((projection) => PROJECTIONS[projection].includes(match[2]));
}

/**
 * What every parameter of the student starts as: q, k, v, o with their biases and norms, MLPs, norms,
 * embeddings and head from the teacher; only a mixer's own parameters are new.
 */
export function transfers(
  teacher: ModelSpec,
  student: ModelSpec,
  mixers: readonly Mixer[],
): Transfer[] {
  const known = new Set(modelParameters(teacher).map(({ name }) => name));
  return modelParameters(student).map((parameter) => {
    const { name } = parameter;
    const copied = known.has(name) && !isReinitialised(name, mixers);
    return copied ? { parameter, from: name } : { parameter };
  });
}
