/**
 * Recipes by name: a path, the URL of one that was fetched, or JSON. A recipe module is someone
 * else's code: it is evaluated in a thread without any permission, with a limit on time and memory,
 * and only text comes out, which is read again as a stranger's.
 */
import { basename, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { getHeapStatistics } from "node:v8";
import { type Problem, RecipeError } from "../../dsl/problem.ts";
import type { Recipe } from "../../dsl/recipe.ts";
import { LIST_LIMIT } from "../../dsl/schema.ts";
import { fromJson, JSON_LIMIT } from "../../dsl/json.ts";
import { RecipeModuleError, shown } from "./error.ts";
import { fileReader } from "./files.ts";
import { isPath, isWeb, readGraph, type ReadModule, type RecipeModule } from "./graph.ts";
import { lockedReader } from "./lock.ts";
import type { Answer, Order } from "./worker.ts";

export { RecipeModuleError };

const MODULE = "a module (.ts, .js; FILE#NAME for another export than the default one)";

/** How the help calls the argument of commands that take a recipe. */
export const RECIPE = `${MODULE}, the https: URL of one that was fetched, or JSON`;

/** The same of commands that take a list. */
export const RECIPES = `${MODULE} or the https: URL of one that was fetched; it exports a list`;

/** Limits on the evaluation of a recipe module. */
export interface Limits {
  /** Seconds until it must have given its recipe. */
  readonly seconds: number;
  /** MiB by which the process may grow meanwhile; at most half of what V8 allows a heap. */
  readonly memory: number;
}

/** Generous for a description, and little beside what a conversion takes. */
const LIMITS: Limits = Object.freeze({ seconds: 10, memory: 512 });

/**
 * The recipe that a name stands for: an export of a .ts or .js module, or a .json file. `specifier`
 * is a path relative to the current directory, a file: URL, or the https: URL of a recipe that
 * recipes.lock lists; `#NAME` after it picks the export of that name, without which it is the
 * default export.
 *
 * Throws RecipeError, with all problems, for a recipe that is not valid, and RecipeModuleError for
 * one that cannot be had. Needs permission to read the recipe's folder and this repository.
 */
export async function loadRecipe(specifier: string, limits: Partial<Limits> = {}): Promise<Recipe> {
  const { recipes, list } = await loadRecipes(specifier, limits);
  if (!list) return recipes[0];
  const why = `it holds a list of ${recipes.length} recipes`;
  const advice = "Compare them with `deno task compare`, or export one by a name: FILE#NAME.";
  throw new RecipeModuleError(shown(specifier), why, advice);
}

/** What a name stands for, where that may be a list of recipes. */
export interface Recipes {
  readonly recipes: readonly Recipe[];
  /** Whether it is a list, which may have one item. */
  readonly list: boolean;
}

/** As `loadRecipe`, for a module that may export a list of recipes too. */
export async function loadRecipes(
  specifier: string,
  limits: Partial<Limits> = {},
): Promise<Recipes> {
  return await evaluateModules(await readModules(specifier), limits);
}

/** The modules of a recipe, read and not evaluated. */
export interface RecipeModules {
  /** The recipe as its user named it. */
  readonly where: string;
  /** Which export is the recipe. */
  readonly name: string;
  /** Each after those that it imports: the recipe's own is the last. */
  readonly modules: readonly RecipeModule[];
}

/** Reads the modules of a recipe; those of the web, unless told otherwise, as recipes.lock has them. */
export async function readModules(
  specifier: string,
  readWeb: ReadModule = lockedReader(Deno.cwd()),
): Promise<RecipeModules> {
  const { file, name } = named(specifier);
  const url = locate(file);
  const where = shown(specifier);
  if (name !== "default" && url.pathname.endsWith(".json")) {
    const advice = `Name the file alone: ${shown(file)}`;
    throw new RecipeModuleError(where, "a .json file holds one recipe, without a name", advice);
  }
  const readFile = fileReader(url);
  const read: ReadModule = (wanted) => isWeb(wanted.url) ? readWeb(wanted) : readFile(wanted);
  return { where, name, modules: await readGraph(url, where, read) };
}

/** Has the modules of a recipe evaluated. */
export async function evaluateModules(
  { where, name, modules }: RecipeModules,
  limits: Partial<Limits> = {},
): Promise<Recipes> {
  const root = modules[modules.length - 1];
  if (root.language === "json") return { recipes: [fromJson(root.source, where)], list: false };
  const answer = await evaluate({ modules, name }, where, { ...LIMITS, ...limits });
  return recipesOf(answer, where, name);
}

/** The file of a specifier and the export that it asks for; a # elsewhere belongs to the path. */
function named(specifier: string): { readonly file: string; readonly name: string } {
  const [, file, name] = /^(.*\.(?:[mc]?[jt]s|json))#(.+)$/s.exec(specifier) ?? [];
  return file === undefined ? { file: specifier, name: "default" } : { file, name };
}

/** What a recipe is called after: its module's name, and behind it the export's if it has one. */
export function moduleTitle(specifier: string): string {
  const { file, name } = named(specifier);
  const url = locate(file);
  const path = url.protocol === "file:" ? fileURLToPath(url) : url.pathname;
  const title = basename(path).replace(/\.[^.]+$/, "");
  return name === "default" ? title : `${title}-${name}`;
}

/** The URL of a recipe. */
function locate(specifier: string): URL {
  if (/^(file|https?):/.test(specifier) && URL.canParse(specifier)) {
    const url = new URL(specifier);
    if (isWeb(url) || isPath(url)) return url;
  }
  const scheme = /^([a-z][a-z+.-]+):/i.exec(specifier)?.[1]; // two letters: C:\ is no scheme
  if (scheme === undefined) return pathToFileURL(resolve(specifier));
  const advice = "Name a file, or the https: URL of a recipe.";
  throw new RecipeModuleError(shown(specifier), `${scheme}: is no place for recipes`, advice);
}

const tooLong = (where: string) => {
  const why = `it is longer than ${JSON_LIMIT} characters of JSON`;
  return new RecipeModuleError(where, why, "Shorten it: a recipe needs a few thousand.");
};

/** How often the memory of the process is looked at while a recipe runs, in milliseconds. */
const WATCH_INTERVAL = 20;

/**
 * Has a recipe module evaluated in a worker, until it answers or passes a limit.
 *
 * Deno 2.9 does not interrupt a worker that is in a loop: past a limit the call returns at once, but
 * the worker's thread ends with the process, which is what the commands do next. A worker that
 * reaches V8's limit of its heap would end the process with it, so that the whole process is watched,
 * and the recipe given up long before.
 */
async function evaluate(order: Order, where: string, limits: Limits): Promise<unknown> {
  const worker = startWorker(where);
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const stop = (why: string, advice: string) => reject(new RecipeModuleError(where, why, advice));
  const timer = setTimeout(() => {
    const advice = "A recipe only describes: move long computations out of it.";
    stop(`it gave no recipe within ${limits.seconds} seconds`, advice);
  }, limits.seconds * 1000);
  const memory = Math.min(limits.memory, getHeapStatistics().heap_size_limit / 2 ** 21);
  const before = Deno.memoryUsage().rss;
  const watch = setInterval(() => {
    if (Deno.memoryUsage().rss - before < memory * 2 ** 20) return;
    stop(
      `it used more than ${Math.floor(memory)} MiB`,
      "A recipe only describes: load no data in it.",
    );
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

/** This repository, from which the worker loads its own code. */
const REPOSITORY = fileURLToPath(new URL("../../", import.meta.url));

/** A worker that may read its own code, which it gives up before it loads a recipe. */
function startWorker(where: string): Worker {
  const permissions: Deno.PermissionOptionsObject = {
    read: [REPOSITORY],
    write: false,
    net: false,
    env: false,
    run: false,
    ffi: false,
    sys: false,
    import: false,
  };
  try {
    return new Worker(new URL("./worker.ts", import.meta.url), {
      type: "module",
      name: "recipe",
      deno: { permissions },
    });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
    const advice = "Give Deno --allow-read for the recipe's folder and for Suture's own.";
    const why = `this process may not read ${REPOSITORY}`;
    throw new RecipeModuleError(where, why, advice, { cause: error });
  }
}

/** Reads an answer, whoever wrote it. */
function recipesOf(answer: unknown, where: string, name: string): Recipes {
  const given = Object(answer) as Record<string, unknown>;
  const { recipes, list, problems, exports, error, message } = given;
  if (Array.isArray(recipes) && recipes.every((json) => typeof json === "string")) {
    const length = recipes.reduce((sum, json) => sum + json.length, 0);
    if (length > JSON_LIMIT || recipes.length > LIST_LIMIT) throw tooLong(where);
    if (recipes.length === 1 && list !== true) {
      return { recipes: [fromJson(recipes[0], where)], list: false };
    }
    if (recipes.length > 0) {
      return { recipes: recipes.map((json, i) => fromJson(json, `${where} [${i}]`)), list: true };
    }
  }
  if (Array.isArray(problems)) throw problemsOf(problems, where);
  if (Array.isArray(exports)) throw missing(exports.map(shown), where, name);
  if (typeof error === "string") throw explained(shown(error), shown(message), where);
  const advice = "End it with export default recipe({ … }).";
  throw new RecipeModuleError(where, "it answers with something else than a recipe", advice);
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
  const what = message.startsWith("SyntaxError") ? message : `${error}: ${message}`;
  const advice = error === "ReferenceError"
    ? "Recipes have the language and Suture, and nothing of the system: they only describe."
    : "Correct the module; `deno task check` finds more of the kind.";
  return new RecipeModuleError(where, what, advice);
}
