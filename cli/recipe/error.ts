/** What goes wrong on the way from a name to a recipe, and text of strangers in messages. */
import { printable } from "../../dsl/problem.ts";

/** A recipe that could not be had from its file: which, why, and what to do. */
export class RecipeModuleError extends Error {
  override readonly name = "RecipeModuleError";

  constructor(recipe: string, why: string, advice: string, options?: ErrorOptions) {
    super(`${recipe}: ${why}\n${advice}`, options);
  }
}

/** Longest text that is shown of what a recipe says. */
const SHOWN_CHARACTERS = 4_000;

/** Text of a stranger, shortened, without what a terminal would obey. */
export const shown = (text: unknown) => printable(String(text).slice(0, SHOWN_CHARACTERS));
