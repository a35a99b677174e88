/**
 * recipes.lock: the SHA-256 of every module of every recipe from the web, and beside it the modules
 * themselves, so that what was looked at once is what runs ever after, without a network.
 */
import { join } from "node:path";
import { writeFileAtomic, writeJsonAtomic } from "../../formats/atomic_file.ts";
import { FormatError, show, systemError } from "../../formats/error.ts";
import { isJsonObject } from "../../formats/json.ts";
import { readJsonObject } from "../../formats/json_file.ts";
import { RecipeModuleError } from "./error.ts";
import {
  checkWeb,
  isWeb,
  MODULE_BYTES,
  nameOf,
  type ReadModule,
  refusal,
  sha256,
} from "./graph.ts";

/** The lock, in the current directory: for `deno task` that of deno.json. Belongs into git. */
export const LOCK = "recipes.lock";

/** Where the modules are kept, each named by its SHA-256. */
export const STORE = ".recipes";

/** SHA-256, 64 hexadecimal digits, by URL. */
export type Hashes = ReadonlyMap<string, string>;

const VERSION = 1;
/** Some ten thousand modules. */
const LOCK_LIMIT = 2 ** 21;

/** The lock of a folder; empty where there is none. @throws FormatError where it is not a lock. */
export function readLock(folder: string): Hashes {
  const path = join(folder, LOCK);
  try {
    Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return new Map();
    throw systemError(path, "read", error);
  }
  const { version, modules } = readJsonObject(path, LOCK_LIMIT);
  const wrong = (at: string, expected: string, found: unknown) => ({
    file: path,
    at,
    expected,
    found: show(found),
    advice: "restore the file, or remove it and fetch its recipes again",
  });
  if (version !== VERSION) throw new FormatError(wrong("version", `${VERSION}`, version));
  if (!isJsonObject(modules)) {
    throw new FormatError(wrong("modules", "SHA-256 by URL", modules));
  }
  const entries = Object.entries(modules);
  const problems = entries.flatMap(([url, hash]) => {
    if (!URL.canParse(url) || !isWeb(new URL(url)) || new URL(url).href !== url) {
      return [wrong(`modules[${show(url)}]`, "an https: URL as its key", url)];
    }
    const fits = typeof hash === "string" && /^[0-9a-f]{64}$/.test(hash);
    return fits ? [] : [wrong(`modules[${show(url)}]`, "64 hexadecimal digits", hash)];
  });
  if (problems.length > 0) throw new FormatError(problems);
  return new Map(entries as [string, string][]);
}

/** Writes the lock of a folder, in the order of the URLs. */
export function writeLock(folder: string, hashes: Hashes): void {
  const modules = Object.fromEntries([...hashes].sort(([a], [b]) => a < b ? -1 : 1));
  writeJsonAtomic(join(folder, LOCK), { version: VERSION, modules });
}

/** The file that keeps a module: by its hash, with the ending of its URL for editors. */
export function storedPath(folder: string, url: URL, hash: string): string {
  return join(folder, STORE, `${hash}${/\.m?[tj]s(on)?$/.exec(url.pathname)?.[0] ?? ""}`);
}

/** Keeps a module. */
export function store(folder: string, url: URL, bytes: Uint8Array): void {
  writeFileAtomic(storedPath(folder, url, sha256(bytes)), bytes);
}

/** The command that fetches a recipe. */
const fetchCommand = (recipe: string) => `deno task fetch-recipe ${recipe}`;

/**
 * Reads modules that the lock of a folder lists, from where they are kept. What is not listed, and
 * bytes with another hash, are refused.
 */
export function lockedReader(folder: string): ReadModule {
  let hashes: Hashes | undefined;
  return async (wanted) => {
    const { url, recipe } = wanted;
    checkWeb(url, undefined, (why, advice) => {
      throw refusal(wanted, why, advice);
    });
    hashes ??= readLock(folder);
    const hash = hashes.get(url.href);
    const fetchIt = `Fetch it and all that it imports with: ${fetchCommand(recipe)}`;
    if (hash === undefined) throw refusal(wanted, `it is not in ${LOCK}`, fetchIt);
    const path = storedPath(folder, url, hash);
    const bytes = await readStored(path);
    if (bytes === undefined) throw refusal(wanted, `${LOCK} has it, ${STORE} has not`, fetchIt);
    const found = sha256(bytes);
    if (found === hash) return bytes;
    const why = `its copy was changed\n  ${LOCK}: ${hash}\n  ${path}: ${found}`;
    throw refusal(wanted, why, fetchIt);
  };
}

async function readStored(path: string): Promise<Uint8Array | undefined> {
  try {
    const { size } = await Deno.stat(path);
    return size > MODULE_BYTES ? new Uint8Array(0) : await Deno.readFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw systemError(path, "read", error);
  }
}

/** Modules whose bytes are not those of the lock. */
export interface Change {
  readonly url: URL;
  readonly locked: string;
  readonly found: string;
}

/** The error that refuses them. */
export function changed(recipe: string, changes: readonly Change[]): RecipeModuleError {
  const list = changes.map(({ url, locked, found }) =>
    `\n  ${nameOf(url)}\n    ${LOCK}: ${locked}\n    now: ${found}`
  );
  const count = changes.length === 1 ? "a module has" : `${changes.length} modules have`;
  return new RecipeModuleError(
    recipe,
    `${count} changed since ${LOCK} was written${list.join("")}`,
    `Read what they are now; to accept it: ${fetchCommand(recipe)} --lock-update`,
  );
}
