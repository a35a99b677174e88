/** Recipes as text: JSON there and back, and the hash that names a recipe. */
import { createHash } from "node:crypto";
import { RecipeError } from "./problem.ts";
import { build, type Recipe } from "./recipe.ts";

/** Longest JSON that is read as a recipe, in UTF-16 units. */
export const JSON_LIMIT = 2 ** 20;

/** Deepest nesting that is read; a recipe needs 7. */
const DEPTH_LIMIT = 32;

/** The recipe as JSON with every default written out, keys in the order of the types. */
export function toJson(recipe: Recipe): string {
  return JSON.stringify(build(recipe), null, 2) + "\n";
}

/**
 * A recipe from JSON that anyone may have written. Only known keys are read, one by one, so that
 * `__proto__` and its like are unknown keys and nothing more. Throws RecipeError, with `where` as
 * the recipe's name.
 */
export function fromJson(json: string, where?: string): Recipe {
  const refuse = (expected: string, found: string) => {
    return new RecipeError([{ path: "recipe", expected, found }], where);
  };
  if (json.length > JSON_LIMIT) {
    throw refuse(`at most ${JSON_LIMIT} characters of JSON`, `${json.length}`);
  }
  const depth = depthOf(json);
  if (depth > DEPTH_LIMIT) throw refuse(`JSON nested at most ${DEPTH_LIMIT} deep`, `${depth}`);
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw refuse("JSON", (error as SyntaxError).message);
  }
  return build(value, where);
}

/**
 * SHA-256, as 64 hexadecimal digits, of the recipe's canonical JSON: keys sorted, no spaces, every
 * default written out. Equal recipes have equal hashes, however they were written.
 */
export function hash(recipe: Recipe): string {
  return createHash("sha256").update(canonical(build(recipe))).digest("hex");
}

/** JSON with sorted keys and no spaces. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, item) => {
    if (typeof item !== "object" || item === null || Array.isArray(item)) return item;
    const entries = Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(entries);
  });
}

/** How deep brackets nest outside of texts: counted before anything is parsed. */
function depthOf(json: string): number {
  let depth = 0;
  let deepest = 0;
  let quoted = false;
  for (let i = 0; i < json.length; i++) {
    const character = json[i];
    if (character === '"') quoted = !quoted;
    else if (quoted) i += character === "\\" ? 1 : 0;
    else if (character === "[" || character === "{") deepest = Math.max(deepest, ++depth);
    else if (character === "]" || character === "}") depth--;
  }
  return deepest;
}
