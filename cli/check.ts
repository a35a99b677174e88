/** `deno task check`: everything that can be wrong with a recipe, without its weights. */
import { describe, printable, RecipeError } from "../dsl/problem.ts";
import type { Recipe } from "../dsl/recipe.ts";
import { hash } from "../dsl/serialise.ts";
import type { Choice } from "../dsl/surgery.ts";
import type { Checkpoint } from "../dsl/teachers.ts";
import { FormatError } from "../formats/error.ts";
import { parseConfig } from "../formats/hf_config/config.ts";
import { locationText } from "../hub/find.ts";
import type { ModelSpec } from "../models/config.ts";
import { conversionOf } from "../plan/conversion.ts";
import { checkpointSpec } from "../plan/spec.ts";
import { stageProblems } from "../train/stage_graph.ts";
import { command, main } from "./command.ts";
import {
  evaluateModules,
  readModules,
  RecipeModuleError,
  type RecipeModules,
} from "./recipe_module.ts";
import { typeProblems } from "./recipe/types.ts";
import { teacherConfig } from "./teacher_config.ts";

/** One thing that is wrong: where, in the module or in the recipe, and what. */
interface Found {
  readonly path: string;
  readonly message: string;
}

/** The command. */
export const check = command({
  name: "check",
  summary: "type-checks and validates a recipe without its weights, and tells all that is wrong",
  arguments: { RECIPE: "a recipe module (.ts, .js), its https: URL, or a recipe as JSON" },
  flags: {},
  run: async ({ arguments: { RECIPE } }, { print, say }) => {
    const modules = await readModules(RECIPE);
    const types = await typeProblems(modules);
    const { recipes, problems } = await evaluated(modules);
    const found = [...types, ...problems];
    const notes = recipes.map(({ fits }) => fits);
    for (const note of new Set(notes)) if (note !== undefined) say(note);
    if (found.length === 0) {
      for (const { recipe, sum } of recipes) {
        print(printable(`${sum.slice(0, 16)}  ${recipe.output}\n`));
      }
      print(`${modules.where}: nothing is wrong\n`);
    } else {
      const count = found.length === 1 ? "1 problem" : `${found.length} problems`;
      const lines = found.map(({ path, message }) => `  ${path}: ${message}\n`);
      print(printable(`${count} in ${modules.where}:\n${lines.join("")}`));
    }
    return {
      report: {
        recipe: RECIPE,
        problems: found,
        recipes: recipes.map(({ recipe, sum }) => ({ hash: sum, output: recipe.output })),
      },
      failed: found.length > 0,
    };
  },
});

/** A recipe that could be had, with what was not looked at. */
interface Checked {
  readonly recipe: Recipe;
  readonly sum: string;
  readonly fits?: string;
}

/** The recipes of the modules, and all problems of what they say. */
async function evaluated(
  modules: RecipeModules,
): Promise<{ recipes: readonly Checked[]; problems: readonly Found[] }> {
  try {
    const { recipes, list } = await evaluateModules(modules);
    const checked = await Promise.all(
      recipes.map(async (recipe) => ({ recipe, sum: hash(recipe), ...await fit(recipe) })),
    );
    const problems = checked.flatMap(({ problems }, i) =>
      list ? problems.map(({ path, message }) => ({ path: `[${i}].${path}`, message })) : problems
    );
    return { recipes: checked, problems };
  } catch (error) {
    if (error instanceof RecipeError) return { recipes: [], problems: foundOf(error) };
    if (!(error instanceof RecipeModuleError)) throw error;
    return { recipes: [], problems: [{ path: modules.name, message: error.message }] };
  }
}

/** The problems of a recipe as path and message. */
const foundOf = ({ problems }: RecipeError): readonly Found[] =>
  problems.map((problem) => ({
    path: problem.path,
    message: describe(problem).slice(problem.path.length + 2),
  }));

/** Whether rules and stages fit the layers and tensors that config.json tells of. */
async function fit(
  recipe: Recipe,
): Promise<{ problems: readonly Found[]; fits?: string }> {
  try {
    const models = await modelsOf(recipe);
    if (models === undefined) {
      const teacher = locationText(recipe.teacher as Checkpoint);
      return {
        problems: [],
        fits: printable(
          `${teacher} is not here: whether surgery and trains fit its layers is not checked`,
        ),
      };
    }
    const problems = stageProblems(recipe, models.student, models.teacher, models.choice);
    return { problems: problems.length === 0 ? [] : foundOf(new RecipeError(problems)) };
  } catch (error) {
    if (error instanceof RecipeError) return { problems: foundOf(error) };
    if (!(error instanceof FormatError)) throw error;
    return { problems: [{ path: "teacher", message: error.message }] };
  }
}

/** What a recipe makes of what, by config.json alone; nothing where that is not here. */
async function modelsOf(
  recipe: Recipe,
): Promise<
  | { readonly student: ModelSpec; readonly teacher?: ModelSpec; readonly choice?: Choice }
  | undefined
> {
  const { teacher } = recipe;
  if (teacher.kind === "new") {
    const { tokenizer } = teacher;
    // A tokenizer file decides the size of the vocabulary, which no name of a tensor depends on.
    const vocab_size = tokenizer.kind === "byteLevelBpe" ? tokenizer.pieces : 1;
    const config = parseConfig({ vocab_size, ...teacher.config }, "teacher.config");
    return { student: checkpointSpec(config, new Map()) };
  }
  const config = await teacherConfig(teacher);
  if (config === undefined) return undefined;
  const spec = checkpointSpec(config, new Map());
  return { ...conversionOf(recipe, { config, spec }), teacher: spec };
}

if (import.meta.main) await main(check);
