/** `deno task fetch-recipe`: takes a recipe from the web, with all that it imports. */
import { command, main } from "./command/command.ts";
import { toggle } from "./command/flags.ts";
import { shown } from "./recipe/error.ts";
import { fetchRecipe } from "./recipe/fetch.ts";
import { LOCK, STORE } from "./recipe/lock.ts";

/** The command. */
export const fetchCommand = command({
  name: "fetch-recipe",
  summary: "fetches a recipe from the web with all that it imports, and locks what was fetched",
  arguments: { URL: "the https: URL of a recipe, or a file that imports one" },
  flags: {
    "lock-update": toggle(`accept modules that are not what ${LOCK} says`),
  },
  run: async ({ arguments: { URL }, flags }, { print, say }) => {
    const modules = await fetchRecipe(URL, Deno.cwd(), flags["lock-update"]);
    for (const { url, sha256, state } of modules) {
      print(`${state.padEnd(9)}  ${sha256.slice(0, 16)}  ${shown(url)}\n`);
    }
    const news = modules.filter(({ state }) => state !== "as locked").length;
    if (news > 0) say(`${LOCK} was written: ${news} of these are new in it. Keep it in git.`);
    print(`Kept in ${STORE}. Next: deno task check ${shown(URL)}\n`);
    return { report: { recipe: URL, lock: LOCK, modules } };
  },
});

if (import.meta.main) await main(fetchCommand);
