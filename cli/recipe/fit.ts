/** Whether a recipe fits what it names: its teacher's layers and tensors, and its data. */
import { isModelName } from "../../dsl/model_name.ts";
import { describe, printable, RecipeError, show } from "../../dsl/problem.ts";
import type { Recipe } from "../../dsl/recipe.ts";
import type { Source } from "../../dsl/sources.ts";
import type { Choice } from "../../dsl/surgery.ts";
import type { Checkpoint } from "../../dsl/teachers.ts";
import { FormatError } from "../../formats/error.ts";
import { type ModelConfig, parseConfig } from "../../formats/hf_config/config.ts";
import { exists } from "../../formats/files.ts";
import { locationText } from "../../hub/find.ts";
import type { ModelSpec } from "../../models/config.ts";
import { conversionOf } from "../../plan/conversion.ts";
import { checkpointSpec } from "../../plan/spec.ts";
import { fileProblems } from "../../train/sources.ts";
import { stageProblems } from "../../train/stage_graph.ts";
import { teacherConfig } from "../plan/teacher_config.ts";

/** One thing that is wrong: where, in the module or in the recipe, and what. */
export interface Found {
  readonly path: string;
  readonly message: string;
}

/** What is wrong, and what could not be looked at. */
export interface Fit {
  readonly problems: readonly Found[];
  readonly unseen: readonly string[];
}

const FITS: Fit = { problems: [], unseen: [] };

/** The problems of a recipe as path and message. */
export const foundOf = ({ problems }: RecipeError): readonly Found[] =>
  problems.map((problem) => ({
    path: problem.path,
    message: describe(problem).slice(problem.path.length + 2),
  }));

/** Whether a recipe fits its teacher, by config.json alone, and its data is there. */
export async function fitOf(recipe: Recipe): Promise<Fit> {
  const parts = [await studentFit(recipe)];
  for (const { path, source } of usedSources(recipe)) parts.push(await sourceFit(path, source));
  return {
    problems: parts.flatMap(({ problems }) => problems),
    unseen: parts.flatMap(({ unseen }) => unseen),
  };
}

/** The sources that stages read, with their places in the recipe. */
function usedSources({ data, stages }: Recipe) {
  const placed = (path: string, sources: readonly Source[]) =>
    sources.map((source, i) => ({ path: sources.length === 1 ? path : `${path}[${i}]`, source }));
  const shared = stages.length === 0 || stages.some((stage) => stage.data === undefined);
  return [
    ...(shared ? placed("data", data) : []),
    ...stages.flatMap((stage, i) => placed(`stages[${i}].data`, stage.data ?? [])),
  ];
}

async function sourceFit(path: string, source: Source): Promise<Fit> {
  if (source.kind !== "samples") {
    const problems = fileProblems(source).map((problem) => ({
      path,
      message: new FormatError(problem).message,
    }));
    return { problems, unseen: [] };
  }
  const { teacher } = source;
  return await withConfig(teacher, `${path}.teacher`, "whether it writes samples", () => FITS);
}

/** Whether rules and stages fit the layers and tensors that config.json tells of. */
async function studentFit(recipe: Recipe): Promise<Fit> {
  const { teacher } = recipe;
  const fits = (student: ModelSpec, from?: ModelSpec, choice?: Choice): Fit => {
    const problems = stageProblems(recipe, student, from, choice);
    return problems.length === 0
      ? FITS
      : { problems: foundOf(new RecipeError(problems)), unseen: [] };
  };
  if (teacher.kind === "new") return await guarded("teacher", () => fits(newModel(teacher)));
  const what = "whether surgery and trains fit its layers";
  return await withConfig(teacher, "teacher", what, (config) => {
    const spec = checkpointSpec(config, new Map());
    const { student, choice } = conversionOf(recipe, { config, spec });
    return fits(student, spec, choice);
  });
}

/** A model that is yet to be made. */
function newModel({ config, tokenizer }: Extract<Recipe["teacher"], { kind: "new" }>): ModelSpec {
  // A tokenizer file decides the size of the vocabulary, which no name of a tensor depends on.
  const vocab_size = tokenizer.kind === "byteLevelBpe" ? tokenizer.pieces : 1;
  return checkpointSpec(parseConfig({ vocab_size, ...config }, "teacher.config"), new Map());
}

/** What follows from a checkpoint's config; where there is none, whether there could be one. */
async function withConfig(
  teacher: Checkpoint,
  path: string,
  what: string,
  fits: (config: ModelConfig) => Fit,
): Promise<Fit> {
  return await guarded(path, async () => {
    const config = await teacherConfig(teacher);
    if (config !== undefined) return fits(config);
    const { location } = teacher;
    if (isModelName(location) && !exists(location)) {
      const unseen = printable(`${what}: ${locationText(teacher)} is not on this machine`);
      return { problems: [], unseen: [unseen] };
    }
    const message = "expected a folder with config.json, or the name of a model as in " +
      `Qwen/Qwen2.5-0.5B-Instruct, found ${show(location)}`;
    return { problems: [{ path, message }], unseen: [] };
  });
}

/** Problems that are thrown. */
async function guarded(path: string, fits: () => Fit | Promise<Fit>): Promise<Fit> {
  try {
    return await fits();
  } catch (error) {
    if (error instanceof RecipeError) return { problems: foundOf(error), unseen: [] };
    if (!(error instanceof FormatError)) throw error;
    return { problems: [{ path, message: error.message }], unseen: [] };
  }
}
