/** New recipes from old ones. Every function here gives a new valid recipe or throws RecipeError. */
import { keepAttention, type MixerFlags, withMixerFlags } from "./mixers.ts";
import { build, type Recipe } from "./recipe.ts";
import type { Rule, Selector } from "./selectors.ts";
import type { Data } from "./sources.ts";
import type { Stage } from "./stages.ts";
import type { Teacher } from "./teachers.ts";

/** From a recipe to another. */
export type Transformation = (recipe: Recipe) => Recipe;

/** Parts that replace a recipe's own. */
export interface RecipePatch {
  /** Another teacher, or another model that does not exist yet. */
  readonly teacher?: Teacher;
  /** All rules; none of the base's stay. */
  readonly surgery?: readonly Rule[];
  /** All stages; none of the base's stay. */
  readonly stages?: readonly Stage[];
  /** One source, or several. */
  readonly data?: Data;
  /** The directory that the result is written to. */
  readonly output?: string;
  /** Seed of initial values and sampling. */
  readonly seed?: number;
  /** The fraction of the tokens kept for evaluation. */
  readonly heldOut?: number;
}

/** The recipe with some parts replaced. A part that is `undefined` stays as it was. */
export function extend(base: Recipe, patch: RecipePatch): Recipe {
  const given = Object.entries(patch).filter(([, part]) => part !== undefined);
  return build({ ...base, ...Object.fromEntries(given) });
}

/** `pipe(base, withContext(4096), withHybrid(every(4)))`: one transformation after the other. */
export function pipe(base: Recipe, ...transformations: readonly Transformation[]): Recipe {
  return transformations.reduce((recipe, transform) => transform(recipe), base);
}

/** Every stage at this context. */
export const withContext = (context: number): Transformation => {
  return withStages((stages) => stages.map((stage) => ({ ...stage, context })));
};

/** Other stages, or what a function makes of the stages: `withStages((s) => s.slice(1))`. */
export const withStages = (
  stages: readonly Stage[] | ((stages: readonly Stage[]) => readonly Stage[]),
): Transformation =>
(recipe) => {
  return extend(recipe, { stages: typeof stages === "function" ? stages(recipe.stages) : stages });
};

/** These flags for every mixer that converts a layer. */
export const withFlags = (flags: MixerFlags): Transformation => (recipe) => {
  const surgery = recipe.surgery.map(({ layers, mixer }) => {
    return { layers, mixer: mixer.kind === "attention" ? mixer : withMixerFlags(mixer, flags) };
  });
  return extend(recipe, { surgery });
};

/**
 * Keeps attention in these layers, whatever the rules so far: `withHybrid(every(4))`, or in some of
 * them that are found by measurement: `withHybrid(layers.all, { where: worst(2) })`.
 */
export const withHybrid = (
  layers: Selector,
  options: Parameters<typeof keepAttention>[0] = {},
): Transformation =>
(recipe) => {
  const rule = { layers, mixer: keepAttention(options) };
  return extend(recipe, { surgery: [...recipe.surgery, rule] });
};

/** Other data. */
export const withData = (data: Data): Transformation => (recipe) => extend(recipe, { data });

/** Another output directory, or what a function makes of it: `withOutput((o) => o + "-b")`. */
export const withOutput = (output: string | ((output: string) => string)): Transformation => {
  return (recipe) => {
    return extend(recipe, {
      output: typeof output === "function" ? output(recipe.output) : output,
    });
  };
};

/** Another seed. */
export const withSeed = (seed: number): Transformation => (recipe) => extend(recipe, { seed });

/** Another teacher: the same recipe at another size. */
export const withTeacher = (teacher: Teacher): Transformation => (recipe) => {
  return extend(recipe, { teacher });
};
