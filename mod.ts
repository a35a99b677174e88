/**
 * Suture, for authors of recipes: a recipe says which teacher is converted, which layers get which
 * mixer, how the result is trained and on what. It is a frozen plain value; everything else in this
 * repository interprets it. docs/recipes.md is the reference.
 *
 * @module
 */
export { recipe } from "./dsl/recipe.ts";
export { newModel, teacher } from "./dsl/teachers.ts";
export { byteLevelBpe } from "./dsl/tokenizers.ts";
export { every, except, first, last, layers, only, where } from "./dsl/selectors.ts";
export { keepAttention, radRwkv6, radRwkv7, worst } from "./dsl/mixers.ts";
export { align, distill, finetune, pretrain } from "./dsl/stages.ts";
export { tokens } from "./dsl/tokens.ts";
export { constant, cosine, cosineBetween, linear } from "./dsl/schedules.ts";
export { match } from "./dsl/trains.ts";
export { binidx, jsonl, samples, text } from "./dsl/sources.ts";
export {
  extend,
  pipe,
  withContext,
  withData,
  withFlags,
  withHybrid,
  withOutput,
  withSeed,
  withStages,
  withTeacher,
} from "./dsl/transformations.ts";
export { fromJson, hash, toJson } from "./dsl/json.ts";
export { validate } from "./dsl/recipe.ts";
export { RecipeError } from "./dsl/problem.ts";

export type { Recipe, RecipeOptions } from "./dsl/recipe.ts";
export type {
  Checkpoint,
  CheckpointOptions,
  NewModel,
  NewModelOptions,
  Teacher,
} from "./dsl/teachers.ts";
export type { ModelConfig, ModelConfigOptions } from "./dsl/model_config.ts";
export type { Rule, Selection, Selector } from "./dsl/selectors.ts";
export type { Mixer, MixerFlags, RadRwkv6Flags, RadRwkv7Flags } from "./dsl/mixers.ts";
export type { AlignOptions, PretrainOptions, Stage, StageOptions } from "./dsl/stages.ts";
export type { TokenCount } from "./dsl/tokens.ts";
export type { Schedule } from "./dsl/schedules.ts";
export type { Match, Trains } from "./dsl/trains.ts";
export type { Data, SamplesOptions, Source } from "./dsl/sources.ts";
export type { RecipePatch, Transformation } from "./dsl/transformations.ts";
export type { Problem } from "./dsl/problem.ts";
