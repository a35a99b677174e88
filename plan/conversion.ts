/** A recipe applied to a teacher: what every layer and every parameter becomes. */

import { RecipeError } from "../dsl/problem.ts";
import type { Mixer } from "../dsl/mixers.ts";
import type { Recipe } from "../dsl/recipe.ts";
import { resolveSurgery } from "../dsl/surgery.ts";
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
}

/**
 * Applies a recipe's surgery to a teacher.
 * @throws RecipeError with every rule that does not fit the teacher.
 */
export function conversionOf(
  { surgery }: Recipe,
  teacher: { readonly config: ModelConfig; readonly spec: ModelSpec },
): Conversion {
  const resolution = resolveSurgery(surgery, teacher.config.layers);
  if (!resolution.ok) throw new RecipeError(resolution.problems);
  const { mixers } = resolution;
  const student = studentSpec(teacher.spec, mixers);
  const problems = configProblems(student);
  if (problems.length > 0) throw new RecipeError(problems);
  return {
    mixers,
    student,
    config: studentConfig(teacher.config, student),
    transfers: transfers(teacher.spec, student, mixers),
  };
}
