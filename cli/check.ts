/** `deno task check`: everything that can be wrong with a recipe, without its weights. */
import { printable, RecipeError } from "../dsl/problem.ts";
import type { Recipe } from "../dsl/recipe.ts";
import { hash } from "../dsl/json.ts";
import { command, main } from "./command/command.ts";
import { type Fit, fitOf, type Found, foundOf } from "./recipe/fit.ts";
import { typeProblems } from "./recipe/types.ts";
import {
  evaluateModules,
  readModules,
  RECIPE,
  RecipeModuleError,
  type RecipeModules,
} from "./recipe/module.ts";

/** The command. */
export const check = command({
  name: "check",
  summary: "type-checks and validates a recipe without its weights, and tells all that is wrong",
  arguments: { RECIPE },
  flags: {},
  run: async ({ arguments: { RECIPE: named } }, { print }) => {
    const modules = await readModules(named);
    const types = await typeProblems(modules);
    const { recipes, problems, unseen } = await evaluated(modules);
    const found = [...types, ...untold(problems, types)];
    if (found.length === 0) {
      for (const { recipe, sum } of recipes) {
        print(printable(`${sum.slice(0, 16)}  ${recipe.output}\n`));
      }
      const where = unseen.length === 0 ? "" : " with what could be looked at";
      print(printable(`${modules.where}: nothing is wrong${where}\n`));
    } else {
      const count = found.length === 1 ? "1 problem" : `${found.length} problems`;
      const lines = found.map(({ path, message }) => `  ${path}: ${message}\n`);
      print(printable(`${count} in ${modules.where}:\n${lines.join("")}`));
    }
    for (const what of unseen) print(printable(`not looked at: ${what}\n`));
    return {
      report: {
        recipe: named,
        problems: found,
        notLookedAt: unseen,
        recipes: recipes.map(({ recipe, sum }) => ({ hash: sum, output: recipe.output })),
      },
      failed: found.length > 0,
    };
  },
});

/** What there is to say of the recipes of a module. */
interface Evaluated extends Fit {
  readonly recipes: readonly { readonly recipe: Recipe; readonly sum: string }[];
}

/** The recipes of the modules, and all problems of what they say. */
async function evaluated(modules: RecipeModules): Promise<Evaluated> {
  try {
    const { recipes, list } = await evaluateModules(modules);
    const fits = await Promise.all(recipes.map(fitOf));
    const place = (i: number, path: string) => list ? `[${i}].${path}` : path;
    return {
      recipes: recipes.map((recipe) => ({ recipe, sum: hash(recipe) })),
      problems: fits.flatMap(({ problems }, i) =>
        problems.map(({ path, message }) => ({ path: place(i, path), message }))
      ),
      unseen: [...new Set(fits.flatMap(({ unseen }) => unseen))],
    };
  } catch (error) {
    const none = { recipes: [], unseen: [] };
    if (error instanceof RecipeError) return { ...none, problems: foundOf(error) };
    if (!(error instanceof RecipeModuleError)) throw error;
    return { ...none, problems: [{ path: modules.name, message: error.message }] };
  }
}

/** Problems but for unknown keys that TypeScript tells of by their names, at their places. */
function untold(problems: readonly Found[], types: readonly Found[]): readonly Found[] {
  const told = new Set(
    types.flatMap(({ message }) =>
      [...message.matchAll(/'([^']+)' does not exist in type/g)].map(([, name]) => name)
    ),
  );
  return problems.filter(({ path, message }) =>
    !(/, found an unknown key(;|$)/.test(message) && told.has(path.split(".").at(-1)!))
  );
}

if (import.meta.main) await main(check);
