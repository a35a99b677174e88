/// <reference lib="deno.worker" />
/**
 * Evaluates one recipe module, in a worker whose only permission is to load modules from a few
 * folders, and answers with text.
 *
 * The recipe shares this thread with the code below and may spoil all of it. Nobody relies on what
 * runs here: the answer is read again outside as something that a stranger wrote.
 */
import { type Problem, RecipeError } from "../dsl/problem.ts";
import { build } from "../dsl/recipe.ts";
import { toJson } from "../dsl/serialise.ts";

/** What the worker is told: the URL of the module, and which of its exports is the recipe. */
export interface Order {
  readonly recipe: string;
  readonly name: string;
}

/** What comes out of evaluating a recipe module. */
export type Answer =
  /** The recipe, as JSON. */
  | { readonly json: string }
  /** Several recipes, as JSON each. */
  | { readonly list: readonly string[] }
  /** The problems of a RecipeError. */
  | { readonly problems: readonly Problem[] }
  /** The module does not export what was asked for, but this. */
  | { readonly exports: readonly string[] }
  /** The module could not be loaded, or threw; `error` is the error's class. */
  | { readonly error: string; readonly message: string };

/**
 * Evaluated after the recipe and all that it imports are loaded, and before the first line of them:
 * gives back every permission. A static import in Deno is checked against the permissions of the
 * worker that loads it, so the worker cannot begin without any.
 */
const LOCKDOWN = `
  for (const name of ["read", "write", "net", "env", "run", "ffi", "sys", "import"]) {
    Deno.permissions.revokeSync({ name });
  }`;

const dataUrl = (source: string) => `data:text/javascript,${encodeURIComponent(source)}`;

async function evaluate({ recipe, name }: Order): Promise<Answer> {
  const entry = `
    import ${JSON.stringify(dataUrl(LOCKDOWN))};
    export * as recipe from ${JSON.stringify(recipe)};`;
  try {
    const module = await import(dataUrl(entry));
    const { [name]: value, ...others } = module.recipe;
    if (value === undefined) return { exports: Object.keys(others) };
    if (Array.isArray(value)) return { list: value.map(itemJson) };
    return { json: toJson(build(value)) };
  } catch (error) {
    if (error instanceof RecipeError) return { problems: error.problems };
    if (!(error instanceof Error)) return { error: "Thrown", message: String(error) };
    return { error: error.name, message: `${error.message}${placeOf(error)}` };
  }
}

/** A recipe of a list as JSON; its problems say which one it is. */
function itemJson(value: unknown, index: number): string {
  try {
    return toJson(build(value));
  } catch (error) {
    if (!(error instanceof RecipeError)) throw error;
    const path = (inside: string) => `[${index}].${inside}`;
    throw new RecipeError(error.problems.map((each) => ({ ...each, path: path(each.path) })));
  }
}

/** The place in the recipe that threw, if the stack names one that the message does not. */
function placeOf({ message, stack = "" }: Error): string {
  const place = /file:\/\/[^\s)]+:\d+:\d+/.exec(stack)?.[0];
  if (place === undefined || /file:\/\/\S+:\d+/.test(message)) return "";
  return place.startsWith(import.meta.url) ? "" : `\n    at ${place}`;
}

self.onmessage = async ({ data }: MessageEvent<Order>) => {
  self.postMessage(await evaluate(data));
};
