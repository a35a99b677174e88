/**
 * Recipes from files. A recipe module is someone else's code: it is evaluated in a thread without
 * any permission, with a limit on time and memory, and only text comes out, which is read again as a
 * stranger's.
 */
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { printable, type Problem, RecipeError } from "../dsl/problem.ts";
import type { Recipe } from "../dsl/recipe.ts";
import { fromJson, JSON_LIMIT } from "../dsl/serialise.ts";
import type { Answer, Order } from "./recipe_worker.ts";

/** A recipe that could not be had from its file: which, why, and what to do. */
export class RecipeModuleError extends Error {
  override readonly name = "RecipeModuleError";

  constructor(recipe: string, why: string, advice: string, options?: ErrorOptions) {
    super(`${recipe}: ${why}\n${advice}`, options);
  }
}

/** Limits on the evaluation of a recipe module. */
export interface Limits {
  /** Seconds until it must have given its recipe. */
  readonly seconds: number;
  /** MiB by which the process may grow meanwhile. */
  readonly memory: number;
}

/** Generous for a description, and little beside what a conversion takes. */
const LIMITS: Limits = Object.freeze({ seconds: 10, memory: 512 });

/**
 * The recipe that a file describes: an export of a .ts or .js module, or a .json file.
 * `specifier` is a path relative to the current directory or a file: URL; `#NAME` after it picks
 * the export of that name, without which it is the default export.
 *
 * Throws RecipeError, with all problems, for a recipe that is not valid, and RecipeModuleError for a
 * file that gives none. Needs permission to read the recipe's folder and this repository.
 */
export async function loadRecipe(specifier: string, limits: Partial<Limits> = {}): Promise<Recipe> {
  const found = await load(specifier, limits);
  if (!isList(found)) return found;
  const advice = "Compare them with `deno task compare`, or name a module that exports one.";
  throw new RecipeModuleError(shown(specifier), `it holds ${found.length} recipes`, advice);
}

/** The recipes of a file that may hold a list of them. Throws as `loadRecipe` does. */
export async function loadRecipes(
  specifier: string,
  limits: Partial<Limits> = {},
): Promise<readonly Recipe[]> {
  const found = await load(specifier, limits);
  return isList(found) ? found : [found];
}

const isList = (found: Recipe | readonly Recipe[]): found is readonly Recipe[] =>
  Array.isArray(found);

async function load(
  specifier: string,
  limits: Partial<Limits>,
): Promise<Recipe | readonly Recipe[]> {
  const { file, name } = named(specifier);
  const url = locate(file);
  const path = fileURLToPath(url);
  const where = shown(specifier);
  const { size } = await statOf(path, where);
  if (path.endsWith(".json")) {
    if (name !== "default") {
      const advice = `Name the file alone: ${shown(file)}`;
      throw new RecipeModuleError(where, "a .json file holds one recipe, without a name", advice);
    }
    if (size > JSON_LIMIT * 4) throw tooLong(where);
    return fromJson(await Deno.readTextFile(path), where);
  }
  const order = { recipe: url.href, name };
  return recipeOf(await evaluate(order, where, { ...LIMITS, ...limits }), where, name);
}

/** The file of a specifier and the export that it asks for; a # elsewhere belongs to the path. */
function named(specifier: string): { readonly file: string; readonly name: string } {
  const [, file, name] = /^(.*\.(?:[mc]?[jt]s|json))#(.+)$/s.exec(specifier) ?? [];
  return file === undefined ? { file: specifier, name: "default" } : { file, name };
}

/** The file: URL of a recipe. */
function locate(specifier: string): URL {
  if (specifier.startsWith("file:")) return new URL(specifier);
  const scheme = /^([a-z][a-z+.-]+):/i.exec(specifier)?.[1]; // two letters: C:\ is no scheme
  if (scheme === undefined) return pathToFileURL(resolve(specifier));
  const advice = "Copy the recipe into a file and name that.";
  throw new RecipeModuleError(shown(specifier), `${scheme}: is not a file`, advice);
}

/** Checks that a recipe file is there before anything is started for it. */
async function statOf(path: string, where: string): Promise<Deno.FileInfo> {
  if (!/\.([mc]?[jt]s|json)$/.test(path)) {
    const advice = "A recipe is a .ts or .js module with a default export, or a .json file.";
    throw new RecipeModuleError(where, "is not named like a recipe", advice);
  }
  try {
    const info = await Deno.stat(path);
    if (info.isFile) return info;
    throw new RecipeModuleError(where, "is not a file", "Name a recipe inside it.");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      const advice = `Check the path: relative ones start at ${Deno.cwd()}.`;
      throw new RecipeModuleError(where, "there is no such file", advice, { cause: error });
    }
    if (error instanceof Deno.errors.NotCapable) throw unreadable(where, error);
    throw error;
  }
}

const unreadable = (where: string, cause: Error) => {
  const advice = "Give Deno --allow-read for the recipe's folder and for Suture's own.";
  return new RecipeModuleError(where, "this process may not read it", advice, { cause });
};

const tooLong = (where: string) => {
  const why = `it is longer than ${JSON_LIMIT} characters of JSON`;
  return new RecipeModuleError(where, why, "Shorten it: a recipe needs a few thousand.");
};

/** This repository, from which every recipe may import. */
const SUTURE = fileURLToPath(new URL("../", import.meta.url));

/** Files that mark the root of a project. */
const MARKS = [".git", "deno.json", "deno.jsonc", "package.json"];

/** The folder that a recipe's imports may reach: the project that it lies in, or its own folder. */
async function projectOf(path: string): Promise<string> {
  const own = resolve(path, "..");
  for (let folder = own; folder !== resolve(folder, ".."); folder = resolve(folder, "..")) {
    for (const mark of MARKS) {
      const found = await Deno.stat(resolve(folder, mark)).then(() => true, () => false);
      if (found) return folder;
    }
  }
  return own;
}

/** How often the memory of the process is looked at while a recipe runs, in milliseconds. */
const WATCH_INTERVAL = 20;

/**
 * Has a recipe module evaluated in a worker, until it answers or passes a limit.
 *
 * Deno 2.9 does not interrupt a worker that is in a loop: past a limit the call returns at once, but
 * the worker's thread ends with the process, which is what the commands do next. It has no limit
 * for a worker's heap either, so the whole process is watched.
 */
async function evaluate(order: Order, where: string, limits: Limits): Promise<unknown> {
  const worker = startWorker([await projectOf(fileURLToPath(order.recipe)), SUTURE], where);
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const stop = (why: string, advice: string) => reject(new RecipeModuleError(where, why, advice));
  const timer = setTimeout(() => {
    const advice = "A recipe only describes: move long computations out of it.";
    stop(`it gave no recipe within ${limits.seconds} seconds`, advice);
  }, limits.seconds * 1000);
  const before = Deno.memoryUsage().rss;
  const watch = setInterval(() => {
    if (Deno.memoryUsage().rss - before < limits.memory * 2 ** 20) return;
    stop(`it used more than ${limits.memory} MiB`, "A recipe only describes: load no data in it.");
  }, WATCH_INTERVAL);
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = (event) => {
    event.preventDefault();
    resolve({ error: "Error", message: event.message } satisfies Answer);
  };
  worker.postMessage(order);
  return await promise.finally(() => {
    clearTimeout(timer);
    clearInterval(watch);
    worker.terminate();
  });
}

/** A worker that may read modules in these folders and nothing else. */
function startWorker(readable: string[], where: string): Worker {
  const permissions: Deno.PermissionOptionsObject = {
    read: readable,
    write: false,
    net: false,
    env: false,
    run: false,
    ffi: false,
    sys: false,
    import: false,
  };
  try {
    return new Worker(new URL("./recipe_worker.ts", import.meta.url), {
      type: "module",
      name: "recipe",
      deno: { permissions },
    });
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw unreadable(where, error);
    throw error;
  }
}

/** Reads an answer, whoever wrote it. */
function recipeOf(answer: unknown, where: string, name: string): Recipe | readonly Recipe[] {
  const { json, list, problems, exports, error, message } = Object(answer) as Record<
    string,
    unknown
  >;
  if (typeof json === "string") return read(json, where);
  if (Array.isArray(list)) return readList(list, where);
  if (Array.isArray(problems)) throw problemsOf(problems, where);
  if (Array.isArray(exports)) throw missing(exports.map(shown), where, name);
  if (typeof error === "string") throw explained(shown(error), shown(message), where);
  const advice = "End it with export default recipe({ … }), and post no messages.";
  throw new RecipeModuleError(where, "it answers with something else than a recipe", advice);
}

function read(json: string, where: string): Recipe {
  if (json.length > JSON_LIMIT) throw tooLong(where);
  return fromJson(json, where);
}

/** Most recipes that a module may export as a list. */
const RECIPES_LIMIT = 256;

function readList(list: readonly unknown[], where: string): readonly Recipe[] {
  if (list.length === 0 || list.length > RECIPES_LIMIT) {
    const why = `it exports a list of ${list.length}`;
    throw new RecipeModuleError(where, why, `Export from 1 to ${RECIPES_LIMIT} recipes.`);
  }
  return list.map((json, i) => read(String(json), `${where}[${i}]`));
}

/** The error of a module that does not export what was asked for. */
function missing(exports: readonly string[], where: string, name: string): RecipeModuleError {
  const asked = name === "default" ? "default export" : `export named ${JSON.stringify(name)}`;
  const list = exports.length === 0 ? "nothing" : exports.join(", ");
  const advice = `It exports ${list}. Pick a recipe of it as FILE#NAME, or end it with: ` +
    "export default recipe({ … });";
  return new RecipeModuleError(where, shown(`it has no ${asked}`), advice);
}

/** Most problems that are taken over from a module. */
const PROBLEM_LIMIT = 1_000;

/** The RecipeError that a module threw, from its problems. */
function problemsOf(problems: readonly unknown[], where: string): RecipeError {
  const list = problems.slice(0, PROBLEM_LIMIT).map((problem): Problem => {
    const { path, expected, found, hint } = Object(problem);
    const plain = { path: shown(path), expected: shown(expected), found: shown(found) };
    return hint === undefined ? plain : { ...plain, hint: shown(hint) };
  });
  return new RecipeError(list, where);
}

/** An error of the module, with what its author can do about it. */
function explained(error: string, message: string, where: string): RecipeModuleError {
  const because = (why: string, advice: string) => new RecipeModuleError(where, why, advice);
  const [, permission, target] = /Requires (\w+) access to "([^"]+)"/.exec(message) ?? [];
  if (error === "NotCapable") {
    const wanted = permission === undefined ? message : `${permission} access to ${target}`;
    const advice = "Recipes are evaluated without permissions: they describe, and do nothing.";
    return because(`it asks for ${wanted}`, advice);
  }
  if (permission === "read") {
    const advice = "Imports reach the recipe's project (from the nearest folder with one of " +
      `${MARKS.join(", ")}; else its own folder) and Suture.`;
    return because(`it imports ${target}, which is outside of its project`, advice);
  }
  if (permission === "import") {
    const advice = "Copy the module beside the recipe and import that.";
    return because(`it imports from ${target}`, advice);
  }
  const what = message.startsWith("SyntaxError") ? message : `${error}: ${message}`;
  return because(what, "Correct the module; `deno check` finds more of the kind.");
}

/** Longest text that is shown of what a recipe says. */
const SHOWN_CHARACTERS = 4_000;

const shown = (text: unknown) => printable(String(text).slice(0, SHOWN_CHARACTERS));
