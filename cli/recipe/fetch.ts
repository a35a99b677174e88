/** Recipe modules from the web: fetched, compared with recipes.lock, kept. */
import {
  checkWeb,
  isWeb,
  MODULE_BYTES,
  nameOf,
  type ReadModule,
  refusal,
  type Wanted,
} from "./graph.ts";
import { type Change, changed, readLock, store, writeLock } from "./lock.ts";
import { readModules } from "./module.ts";

/** How long a server may take for one module. */
const PATIENCE_SECONDS = 30;

/** A module from the web. */
export interface Fetched {
  readonly url: string;
  readonly sha256: string;
  /** What recipes.lock said of it before. */
  readonly state: "new" | "as locked" | "changed";
}

/**
 * Fetches a recipe with all that it imports, keeps the modules and lists them in the lock of a
 * folder. Throws RecipeModuleError, and keeps nothing, where modules are not those that the lock
 * lists, unless `update` accepts them.
 */
export async function fetchRecipe(
  recipe: string,
  folder: string,
  update: boolean,
): Promise<readonly Fetched[]> {
  const before = readLock(folder);
  const bytes = new Map<string, Uint8Array>();
  const read: ReadModule = async (wanted) => {
    const body = await download(wanted);
    bytes.set(wanted.url.href, body);
    return body;
  };
  const { modules } = await readModules(recipe, read);
  const web = modules.filter(({ url }) => isWeb(new URL(url)));
  const changes = web.flatMap(({ url, sha256: found }): Change[] => {
    const locked = before.get(url);
    return locked === undefined || locked === found ? [] : [{ url: new URL(url), locked, found }];
  });
  if (changes.length > 0 && !update) throw changed(recipe, changes);
  for (const { url } of web) store(folder, new URL(url), bytes.get(url)!);
  const fetched = web.map(({ url, sha256 }): Fetched => {
    const locked = before.get(url);
    const state = locked === undefined ? "new" : locked === sha256 ? "as locked" : "changed";
    return { url, sha256, state };
  });
  if (fetched.some(({ state }) => state !== "as locked")) {
    const now = fetched.map(({ url, sha256 }) => [url, sha256] as const);
    writeLock(folder, new Map([...before, ...now]));
  }
  return fetched;
}

/** A module from its server. Redirections are not followed: a URL means what it says. */
async function download(wanted: Wanted): Promise<Uint8Array> {
  const refuse = (why: string, advice: string) => {
    throw refusal(wanted, why, advice);
  };
  checkWeb(wanted.url, undefined, refuse);
  let response: Response;
  try {
    const signal = AbortSignal.timeout(PATIENCE_SECONDS * 1000);
    response = await fetch(wanted.url, { redirect: "manual", signal });
    if (response.ok) return await bodyOf(response, wanted);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) {
      throw refusal(wanted, "this process may not use the network", "Give Deno --allow-net.");
    }
    if (!(error instanceof TypeError || error instanceof DOMException)) throw error;
    const why = error.cause instanceof Error ? error.cause.message : error.message;
    throw refusal(
      wanted,
      `it cannot be fetched: ${why}`,
      "Check the URL and the network, then try again.",
    );
  }
  await response.body?.cancel();
  const location = response.headers.get("location");
  if (location !== null && URL.canParse(location, wanted.url)) {
    const why = `its server sends on to ${nameOf(new URL(location, wanted.url))}`;
    throw refusal(wanted, why, "Name that URL, if you trust it.");
  }
  throw refusal(wanted, `its server answers ${response.status}`, "Check the URL, then try again.");
}

async function bodyOf(response: Response, wanted: Wanted): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of response.body ?? []) {
    pieces.push(piece);
    length += piece.length;
    if (length <= MODULE_BYTES) continue;
    throw refusal(wanted, `it is longer than ${MODULE_BYTES} bytes`, "It cannot be a recipe.");
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
