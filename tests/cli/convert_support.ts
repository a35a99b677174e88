/** What the tests of `deno task convert` share. */

import { join } from "node:path";
import type { Recipe } from "../../dsl/recipe.ts";
import { toJson } from "../../dsl/json.ts";
import { temporaryFolder } from "../support/checkpoint.ts";
import { runTask } from "../support/task.ts";
import { minuteRecipe } from "../train/support.ts";

/** One thread, and nothing that only some machines have. */
export const FLAGS = ["--blas", "none", "--threads", "1"];

/** A folder with a teacher, a text and a recipe, whose result goes two folders deeper. */
export interface Place extends Disposable {
  readonly folder: string;
  readonly recipe: Recipe;
  readonly out: string;
  /** Writes the recipe with changes to its JSON; returns the file. */
  // deno-lint-ignore no-explicit-any
  write(change?: (json: any) => void): string;
}

/** Makes one. */
export function place(options: Parameters<typeof minuteRecipe>[1] = {}): Place {
  const temporary = temporaryFolder();
  const { folder } = temporary;
  const recipe = minuteRecipe(folder, options);
  const out = join(folder, "results", "first");
  let files = 0;
  return {
    folder,
    recipe,
    out,
    write: (change = () => {}) => {
      const json = JSON.parse(toJson(recipe));
      json.output = out;
      change(json);
      const file = join(folder, `recipe-${files++}.json`);
      Deno.writeTextFileSync(file, JSON.stringify(json));
      return file;
    },
    [Symbol.dispose]: () => temporary[Symbol.dispose](),
  };
}

/** Runs `deno task convert`. */
export const convert = (...words: string[]) => runTask("convert", ...words, ...FLAGS);
