/// <reference lib="deno.worker" />
/**
 * Evaluates one recipe in a worker and answers with text. Before a byte of the recipe is loaded, the
 * worker gives back every permission that it was started with, and takes away all of the runtime:
 * what is left is the language, and Suture.
 *
 * The recipe shares this thread with the code below and may spoil all of it. Nobody relies on what
 * runs here: the answer is read again outside as something that a stranger wrote.
 */
import { type Problem, RecipeError } from "../../dsl/problem.ts";
import { build, validate } from "../../dsl/recipe.ts";
import { toJson } from "../../dsl/json.ts";
import * as suture from "../../mod.ts";
import type { RecipeModule } from "./graph.ts";
import { rewritten, SUTURE } from "./link.ts";

/** What the worker is told: the modules, the recipe's last, and which export is the recipe. */
export interface Order {
  readonly modules: readonly RecipeModule[];
  readonly name: string;
}

/** What comes out of evaluating a recipe module. */
export type Answer =
  /** The recipe, or the recipes of a list, each as JSON. */
  | { readonly recipes: readonly string[]; readonly list: boolean }
  /** The problems of a RecipeError. */
  | { readonly problems: readonly Problem[] }
  /** The module does not export what was asked for, but this. */
  | { readonly exports: readonly string[] }
  /** The module could not be loaded, or threw; `error` is the error's class. */
  | { readonly error: string; readonly message: string };

/** What a recipe has: the language, without what runs text, shares memory or waits. */
const LANGUAGE = new Set(
  "Object Array Number parseFloat parseInt Infinity NaN undefined Boolean String Symbol Date Promise RegExp Error AggregateError EvalError RangeError ReferenceError SyntaxError TypeError URIError globalThis JSON Math Intl ArrayBuffer DataView Uint8Array Int8Array Uint16Array Int16Array Uint32Array Int32Array Float16Array Float32Array Float64Array Uint8ClampedArray BigInt64Array BigUint64Array Map BigInt Set Iterator WeakMap WeakSet Proxy Reflect decodeURI decodeURIComponent encodeURI encodeURIComponent isFinite isNaN structuredClone"
    .split(" "),
);

const PERMISSIONS = ["read", "write", "net", "env", "run", "ffi", "sys", "import"] as const;

/** The types of blobs by language. */
const TYPES = {
  typescript: "application/typescript",
  javascript: "text/javascript",
  json: "application/json",
} as const;

const blobUrl = (source: string, type: string) => URL.createObjectURL(new Blob([source], { type }));

/** Leaves no way out of this thread but its answer. */
function lockDown(): void {
  for (const name of PERMISSIONS) Deno.permissions.revokeSync({ name });
  for (const name of ["addEventListener", "removeEventListener", "dispatchEvent"]) {
    Reflect.deleteProperty(EventTarget.prototype, name);
  }
  for (const name of Reflect.ownKeys(globalThis)) {
    if (typeof name !== "string" || !LANGUAGE.has(name)) Reflect.deleteProperty(globalThis, name);
  }
  // Deno calls this of every promise that is rejected and left alone: nobody is to take it over.
  Object.defineProperty(globalThis, "dispatchEvent", { value: () => true });
  // Text becomes code only through these.
  const kinds = [() => {}, async () => {}, function* () {}, async function* () {}];
  for (const kind of kinds) {
    Object.defineProperty(Object.getPrototypeOf(kind), "constructor", { value: undefined });
  }
  // What a recipe says on the way would stand between the lines of the command.
  const silent = Object.fromEntries(
    ["log", "info", "warn", "error", "debug"].map((name) => [name, () => {}]),
  );
  Object.defineProperty(globalThis, "console", { value: Object.freeze(silent) });
}

/** A module that exports what mod.ts exports, and was loaded with this one. */
async function sutureUrl(): Promise<string> {
  const names = Object.keys(suture).join(", ");
  const url = blobUrl(`export const { ${names} } = globalThis.suture;`, TYPES.javascript);
  Object.defineProperty(globalThis, "suture", { value: suture, configurable: true });
  await import(url);
  Reflect.deleteProperty(globalThis, "suture");
  return url;
}

async function evaluate({ modules, name }: Order): Promise<Answer> {
  const mod = await sutureUrl();
  const urls: string[] = [];
  for (const { source, imports, language } of modules) {
    const urlOf = (i: number) => imports[i].module === SUTURE ? mod : urls[imports[i].module];
    urls.push(blobUrl(rewritten(source, imports, urlOf), TYPES[language]));
  }
  /** Blobs by the names that their authors know. */
  const named = (text: string) =>
    urls.reduce((rest, url, i) => rest.replaceAll(url, modules[i].name), text);
  lockDown();
  try {
    const { [name]: value, ...others } = await import(urls[urls.length - 1]);
    return value === undefined ? { exports: Object.keys(others) } : answerOf(value);
  } catch (error) {
    if (error instanceof RecipeError) return { problems: error.problems };
    if (!(error instanceof Error)) return { error: "Thrown", message: String(error) };
    return { error: error.name, message: named(`${error.message}${placeOf(error, urls)}`) };
  }
}

/** A recipe or a list of them as JSON, or all problems, with the index of the recipe where listed. */
function answerOf(value: unknown): Answer {
  if (!Array.isArray(value) || value.length === 0) {
    return { recipes: [toJson(build(value))], list: false };
  }
  const problems = value.flatMap((recipe, i) =>
    validate(recipe).map((problem) => ({
      ...problem,
      path: `[${i}]${problem.path === "recipe" ? "" : `.${problem.path}`}`,
    }))
  );
  if (problems.length > 0) return { problems };
  return { recipes: value.map((recipe) => toJson(build(recipe))), list: true };
}

/** The place in the recipe that threw, if the stack names one that the message does not. */
function placeOf({ message, stack = "" }: Error, urls: readonly string[]): string {
  const places = stack.match(/blob:[^\s)]+:\d+:\d+/g) ?? [];
  const place = places.find((place) => urls.some((url) => place.startsWith(url)));
  return place === undefined || /blob:\S+:\d+/.test(message) ? "" : `\n    at ${place}`;
}

/** Taken before a recipe can replace them. */
const post = self.postMessage.bind(self);
const later = self.setTimeout.bind(self);
const close = self.close.bind(self);

self.onmessage = async ({ data }: MessageEvent<Order>) => {
  const answer = await evaluate(data);
  // The limits on time and memory end with the answer. A timer comes after all promises of the
  // recipe, so that they are within; closing stops whatever the answer itself has set going.
  later(() => {
    post(answer);
    close();
  });
};
