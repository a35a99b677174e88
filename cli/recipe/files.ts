/** Recipe modules from files: imports reach the recipe's own project and Suture, nothing else. */
import { relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { systemError } from "../../formats/error.ts";
import { nearby } from "../nearby.ts";
import { MODULE_BYTES, nameOf, type ReadModule, refusal, type Wanted } from "./graph.ts";

/** This repository, from which every recipe may import. */
const REPOSITORY = fileURLToPath(new URL("../../", import.meta.url));

/** Files that mark the root of a project. */
const MARKS = [".git", "deno.json", "deno.jsonc", "package.json"];

/** Reads modules for the recipe at `root`, a file: URL. */
export function fileReader(root: URL): ReadModule {
  let folders: Promise<readonly string[]> | undefined;
  return async (wanted) => {
    const path = fileURLToPath(wanted.url);
    try {
      const { isFile, size } = await Deno.stat(path);
      if (!isFile) throw refusal(wanted, "is not a file", "Name a recipe inside it.");
      if (size > MODULE_BYTES) {
        const why = `it is longer than ${MODULE_BYTES} bytes`;
        throw refusal(wanted, why, "A recipe needs a few thousand: load no data in it.");
      }
      if (wanted.importedBy !== undefined) {
        folders ??= reachable(fileURLToPath(root));
        const allowed = await folders;
        // Of links it counts where they lead.
        const real = await Deno.realPath(path);
        if (!allowed.some((folder) => real.startsWith(folder))) {
          const advice =
            "Imports reach the recipe's project (from the nearest folder with one of " +
            `${MARKS.join(", ")}; else its own folder) and Suture.`;
          throw refusal(wanted, "it is outside of the recipe's project", advice);
        }
      }
      return await Deno.readFile(path);
    } catch (error) {
      throw fileError(error, wanted);
    }
  };
}

function fileError(error: unknown, wanted: Wanted): unknown {
  if (error instanceof Deno.errors.NotFound) {
    const meant = wanted.importedBy === undefined ? nearby(fileURLToPath(wanted.url)) : undefined;
    const advice = meant === undefined
      ? `Check the path: relative ones start at ${Deno.cwd()}.`
      : `Did you mean ${relative(Deno.cwd(), meant)}?`;
    return refusal(wanted, "there is no such file", advice);
  }
  if (error instanceof Deno.errors.NotCapable) {
    const advice = "Give Deno --allow-read for the recipe's folder and for Suture's own.";
    return refusal(wanted, "this process may not read it", advice);
  }
  return systemError(nameOf(wanted.url), "read", error);
}

/** The folders that imports of a recipe may reach, by their real paths, ending in a separator. */
async function reachable(recipe: string): Promise<readonly string[]> {
  const ended = async (folder: string) => (await Deno.realPath(folder)).replace(/[/\\]?$/, sep);
  return [await ended(await projectOf(recipe)), await ended(REPOSITORY)];
}

/** The project that a file lies in, or its own folder. */
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
