/** `deno task fetch-recipe`: takes a recipe from the web, with all that it imports. */
import { command, main } from "./command.ts";
import { toggle } from "./flags.ts";
import {
  checkWeb,
  isWeb,
  MODULE_BYTES,
  nameOf,
  type ReadModule,
  refusal,
  sha256,
  type Wanted,
} from "./recipe_graph.ts";
import { type Change, changed, LOCK, readLock, STORE, store, writeLock } from "./recipe_lock.ts";
import { readModules } from "./recipe_module.ts";

/** How long a server may take for one module. */
const PATIENCE_SECONDS = 30;

/** The command. */
export const fetchRecipe = command({
  name: "fetch-recipe",
  summary: "fetches a recipe from the web with all that it imports, and locks what was fetched",
  arguments: { RECIPE: "the https: URL of a recipe, or a file that imports one" },
  flags: {
    "lock-update": toggle(`accept modules that are not what ${LOCK} says`),
  },
  run: async ({ arguments: { RECIPE }, flags }, { print, say }) => {
    const folder = Deno.cwd();
    const before = readLock(folder);
    const fetched = new Map<string, Uint8Array>();
    const read: ReadModule = async (wanted) => {
      const bytes = await download(wanted);
      fetched.set(wanted.url.href, bytes);
      return bytes;
    };
    const { modules } = await readModules(RECIPE, read);
    const web = modules.filter(({ url }) => isWeb(new URL(url)));
    const changes = web.flatMap(({ url, sha256: found }): Change[] => {
      const locked = before.get(url);
      return locked === undefined || locked === found ? [] : [{ url: new URL(url), locked, found }];
    });
    if (changes.length > 0 && !flags["lock-update"]) throw changed(RECIPE, changes);
    const stateOf = (url: string, hash: string) => {
      const locked = before.get(url);
      return locked === undefined ? "new" : locked === hash ? "as locked" : "changed";
    };
    const report = web.map(({ url, sha256 }) => ({ url, sha256, state: stateOf(url, sha256) }));
    for (const { url } of web) store(folder, new URL(url), fetched.get(url)!);
    if (report.some(({ state }) => state !== "as locked")) {
      writeLock(
        folder,
        new Map([...before, ...web.map(({ url, sha256 }) => [url, sha256] as const)]),
      );
      say(`${LOCK} ${before.size === 0 ? "is written" : "is updated"}: put it into git`);
    }
    for (const { url, sha256, state } of report) {
      print(`${state.padEnd(9)}  ${sha256.slice(0, 16)}  ${nameOf(new URL(url))}\n`);
    }
    print(`${web.length} modules are in ${STORE}; next: deno task check ${RECIPE}\n`);
    return { report: { recipe: RECIPE, lock: LOCK, modules: report } };
  },
});

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
    throw refusal(
      wanted,
      `it cannot be fetched: ${error.message}`,
      "Check the URL, then try again.",
    );
  }
  await response.body?.cancel();
  const location = response.headers.get("location");
  if (location !== null) {
    const advice = "Name that URL, if you trust it.";
    throw refusal(
      wanted,
      `its server sends on to ${nameOf(new URL(location, wanted.url))}`,
      advice,
    );
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

if (import.meta.main) await main(fetchRecipe);
