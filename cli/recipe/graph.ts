/**
 * The modules that a recipe consists of. They are read here, all of them, before the first is
 * evaluated: what was read, and hashed where it came from the web, is what runs.
 */
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { JSON_LIMIT } from "../../dsl/json.ts";
import { RecipeModuleError, shown } from "./error.ts";
import { type Import, readSyntax } from "./imports.ts";
import { SUTURE } from "./link.ts";

/** What a module is written in. */
export type Language = "typescript" | "javascript" | "json";

/** One module of a recipe. */
export interface RecipeModule {
  /** file:, https:, or http: on this machine. */
  readonly url: string;
  /** What messages call it. */
  readonly name: string;
  readonly language: Language;
  readonly source: string;
  readonly sha256: string;
  readonly imports: readonly ModuleImport[];
}

export interface ModuleImport extends Import {
  /** Which of the modules it is, or `SUTURE`. */
  readonly module: number;
}

/** Suture's mod.ts, whatever a recipe calls it. */
export const MOD = new URL("../../mod.ts", import.meta.url);

/** The bare specifier of mod.ts: the name in deno.json. */
const PACKAGE = "@suture/suture";

/** A module that is wanted, and by whom. */
export interface Wanted {
  readonly url: URL;
  /** The recipe that is loaded, as its user named it. */
  readonly recipe: string;
  /** `it imports "./base.ts" at recipe.ts:1:8`; absent for the recipe itself. */
  readonly importedBy?: string;
}

/** Gives the bytes of a module, or throws RecipeModuleError. */
export type ReadModule = (wanted: Wanted) => Promise<Uint8Array>;

/** Most bytes of a module that is JSON; a character has up to four. */
export const MODULE_BYTES = 4 * JSON_LIMIT;

/** Most bytes of a module that is code, whose syntax tree takes a hundred times as much. */
const CODE_BYTES = 2 ** 18;

/** Most modules of a recipe. */
const MODULE_LIMIT = 100;

export const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** How a module is named in messages: files by their path. */
export const nameOf = ({ protocol, href }: URL) =>
  shown(protocol === "file:" ? fileURLToPath(href) : href);

/** The error about a module that is wanted. */
export function refusal({ url, recipe, importedBy }: Wanted, why: string, advice: string) {
  if (importedBy === undefined) return new RecipeModuleError(recipe, why, advice);
  return new RecipeModuleError(recipe, `${importedBy}: ${nameOf(url)}: ${why}`, advice);
}

/**
 * Reads a recipe and all that it imports; a module stands after those that it imports, the recipe
 * last. Throws RecipeModuleError for the first module that cannot be had or may not be imported.
 */
export async function readGraph(
  root: URL,
  recipe: string,
  read: ReadModule,
): Promise<readonly RecipeModule[]> {
  const modules: RecipeModule[] = [];
  const known = new Map<string, number>();
  const open = new Set<string>();

  async function add(wanted: Wanted): Promise<number> {
    const { href } = wanted.url;
    const before = known.get(href);
    if (before !== undefined) return before;
    if (open.has(href)) {
      throw refusal(
        wanted,
        "it imports itself in a circle",
        "Put what both need in a third module.",
      );
    }
    if (open.size + modules.length >= MODULE_LIMIT) {
      const why = `it consists of more than ${MODULE_LIMIT} modules`;
      throw new RecipeModuleError(recipe, why, "A recipe imports Suture and a few other recipes.");
    }
    open.add(href);
    modules.push(await moduleOf(wanted));
    open.delete(href);
    known.set(href, modules.length - 1);
    return modules.length - 1;
  }

  async function moduleOf(wanted: Wanted): Promise<RecipeModule> {
    const language = languageOf(wanted);
    const bytes = await read(wanted);
    const source = decode(bytes, language === "json" ? MODULE_BYTES : CODE_BYTES, wanted);
    const { url } = wanted;
    const name = nameOf(url);
    const imports: ModuleImport[] = [];
    if (language !== "json") {
      const syntax = readSyntax(source, language);
      if (!syntax.ok) {
        const place = syntax.place === undefined ? "" : `\n    at ${name}:${syntax.place}`;
        throw refusal(wanted, syntax.why + place, syntax.advice);
      }
      for (const one of syntax.imports) {
        const importedBy = `it imports ${
          shown(JSON.stringify(one.specifier))
        } at ${name}:${one.place}`;
        const target = resolve(one.specifier, url, (why, advice) => {
          throw new RecipeModuleError(recipe, `${importedBy}: ${why}`, advice);
        });
        const next = target === undefined ? SUTURE : await add({ url: target, recipe, importedBy });
        imports.push({ ...one, module: next });
      }
    }
    return { url: url.href, name, language, source, sha256: sha256(bytes), imports };
  }

  await add({ url: root, recipe });
  return modules;
}

/** Reports why a module is not imported, and what to do. */
type Refuse = (why: string, advice: string) => never;

/** The module that a specifier means; nothing where it means mod.ts. */
function resolve(specifier: string, importer: URL, refuse: Refuse): URL | undefined {
  if (specifier === PACKAGE) return undefined;
  const relative = /^\.{0,2}\//.test(specifier);
  if (!relative && !URL.canParse(specifier)) {
    refuse("it is no path", `Suture is imported from "${PACKAGE}", a recipe beside from "./x.ts".`);
  }
  if (!URL.canParse(specifier, importer)) refuse("it is no path", "Correct it.");
  const url = new URL(specifier, importer);
  // Recipes of a copy of this repository name its mod.ts; there is only the one that runs.
  const isMod = isWeb(url) ? url.pathname.endsWith("/mod.ts") : url.href === MOD.href;
  if (isMod) return undefined;
  if (isWeb(url)) checkWeb(url, importer, refuse);
  else if (url.protocol !== "file:") {
    const advice = "Recipes import Suture and other recipes, nothing else.";
    refuse(`${url.protocol} is no recipe`, advice);
  } else if (importer.protocol !== "file:") {
    refuse("a recipe from the web imports no files", "Import it by its https: URL.");
  } else if (!isPath(url)) refuse("it is no path of a file", "Correct it.");
  return url;
}

/** Whether a file: URL is the path of a file of this machine. */
export function isPath(url: URL): boolean {
  try {
    return fileURLToPath(url) !== "";
  } catch {
    return false;
  }
}

export const isWeb = ({ protocol }: URL) => protocol === "https:" || protocol === "http:";

/** Machines that plain http: is good enough for: this one. */
const LOOPBACK = ["127.0.0.1", "[::1]", "localhost"];

/** Refuses URLs that recipes are not fetched from. */
export function checkWeb(url: URL, importer: URL | undefined, refuse: Refuse): void {
  if (url.protocol === "http:") {
    if (!LOOPBACK.includes(url.hostname)) {
      refuse("http: can be changed on the way", "Name it by https:.");
    }
    if (importer?.protocol === "https:") {
      refuse("a recipe from the web imports nothing of this machine", "Import by https:.");
    }
  }
  if (url.username !== "" || url.password !== "") {
    refuse("its URL holds a password", "Put the recipe where none is needed.");
  }
  if (url.hash !== "") refuse(`${shown(url.hash)} names no module`, "Leave it out.");
}

function languageOf(wanted: Wanted): Language {
  const { pathname } = wanted.url;
  if (/\.m?ts$/.test(pathname)) return "typescript";
  if (/\.m?js$/.test(pathname)) return "javascript";
  if (/\.json$/.test(pathname)) return "json";
  const advice = "A recipe is a .ts or .js module with a default export, or a .json file.";
  throw refusal(wanted, "is not named like a recipe", advice);
}

function decode(bytes: Uint8Array, limit: number, wanted: Wanted): string {
  if (bytes.length > limit) {
    const advice = "A recipe needs a few thousand characters: load no data in it.";
    throw refusal(wanted, `it is longer than ${limit} bytes`, advice);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw refusal(wanted, "it is no UTF-8 text", "Save it as UTF-8.");
  }
}
