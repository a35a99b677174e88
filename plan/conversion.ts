/** A recipe applied to a teacher: what every layer and every parameter becomes. */

import { RecipeError } from "../dsl/problem.ts";
import { keepAttention, type Mixer } from "../dsl/mixers.ts";
import type { Recipe } from "../dsl/recipe.ts";
import { type Choice, resolveSurgery } from "../dsl/surgery.ts";
import type { ModelConfig } from "../formats/hf_config/config.ts";
import type { ModelSpec } from "../models/config.ts";
import { configProblems, studentConfig, studentSpec } from "./spec.ts";
import { type Transfer, transfers } from "./transfer.ts";

/** What a recipe makes of a teacher. */
export interface Conversion {
  /** What the recipe says of every layer; attention where the teacher's own mixer stays. */
  readonly mixers: readonly Mixer[];
  readonly student: ModelSpec;
  /** The student's config.json. */
  readonly config: ModelConfig;
  readonly transfers: readonly Transfer[];
  /** Layers of which some go back to attention at the end of stage 1, if the recipe asks for it. */
  readonly choice?: Choice;
}

/**
 * Applies a recipe's surgery to a teacher.
 * @param kept layers that went back to attention, once it is known which
 * @throws RecipeError with every rule that does not fit the teacher.
 */
export function conversionOf(
  { surgery }: Recipe,
  teacher: { readonly config: ModelConfig; readonly spec: ModelSpec },
  kept: readonly number[] = [],
): Conversion {
  const resolution = resolveSurgery(surgery, teacher.config.layers);
  if (!resolution.ok) throw new RecipeError(resolution.problems);
  const { choice } = resolution;
  const mixers = resolution.mixers.map((mixer, layer) =>
    kept.includes(layer) ? keepAttention() : mixer
  );
  const student = studentSpec(teacher.spec, mixers);
  const problems = configProblems(student);
  if (problems.length > 0) throw new RecipeError(problems);
  return {
    mixers,
    student,
    config: studentConfig(teacher.config, student),
    transfers: transfers(teacher.spec, student, mixers),
    ...(choice && { choice }),
  };
}
