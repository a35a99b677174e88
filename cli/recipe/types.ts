/** Type errors of a recipe, from `deno check`. */
import { join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { systemError } from "../../formats/error.ts";
import { RecipeModuleError } from "./error.ts";
import { MOD } from "./graph.ts";
import { rewritten, SUTURE } from "./link.ts";
import { STORE } from "./lock.ts";
import type { RecipeModules } from "./module.ts";

/** One thing that a type checker says. */
export interface TypeProblem {
  /** Module, line and column. */
  readonly path: string;
  /** `TS2322: Type …` */
  readonly message: string;
}

const ENDINGS = { typescript: "ts", javascript: "js", json: "json" } as const;

/**
 * What `deno check` finds in the modules of a recipe. They are copied into a folder under the
 * current one and checked there: a recipe from the web is then the one that was locked, and knows
 * Suture by its name. Needs permission to write there and to run deno.
 */
export async function typeProblems(
  { where, modules }: RecipeModules,
): Promise<readonly TypeProblem[]> {
  if (modules.every(({ language }) => language === "json")) return [];
  const names = modules.map(({ language }, i) => `${i}.${ENDINGS[language]}`);
  const copies = modules.map(({ source, imports }) =>
    rewritten(source, imports, (index) => {
      const { module } = imports[index];
      return module === SUTURE ? MOD.href : `./${names[module]}`;
    })
  );
  const folder = writing(STORE, () => {
    Deno.mkdirSync(STORE, { recursive: true });
    return resolve(Deno.makeTempDirSync({ dir: STORE, prefix: "check-" }));
  });
  try {
    writing(folder, () => {
      for (const [i, copy] of copies.entries()) {
        Deno.writeTextFileSync(join(folder, names[i]), copy);
      }
    });
    const output = await denoCheck(join(folder, names[names.length - 1]), where);
    const urls = names.map((name) => pathToFileURL(join(folder, name)).href);
    const shown = modules.map(({ name, url }) => url.startsWith("file:") ? near(name) : name);
    const named = (text: string) =>
      urls.reduce((rest, url, i) => rest.replaceAll(url, shown[i]), text);
    return read(named(output));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A path as it is from the current folder, where it is in that. */
function near(path: string): string {
  const short = relative(Deno.cwd(), path);
  return short.startsWith("..") ? path : short;
}

/** Does what writes to a folder. @throws FormatError where the system refuses. */
function writing<T>(folder: string, write: () => T): T {
  try {
    return write();
  } catch (error) {
    throw systemError(folder, "write", error);
  }
}

/** What `deno check` says of a file; nothing if it finds nothing. */
async function denoCheck(file: string, where: string): Promise<string> {
  try {
    // By its name, which is what --allow-run=deno allows: npx puts deno on the PATH too.
    const { code, stderr } = await new Deno.Command("deno", {
      args: ["check", "--quiet", "--no-config", "--no-lock", "--no-remote", "--no-npm", file],
      env: { NO_COLOR: "1" },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).output();
    return code === 0 ? "" : new TextDecoder().decode(stderr);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound)) {
      throw error;
    }
    const why = "its types cannot be checked, because this process may not run deno";
    throw new RecipeModuleError(where, why, "Have deno on the PATH, and give --allow-run=deno.");
  }
}

/** The problems in the output of `deno check`; all of it as one where it reads otherwise. */
function read(output: string): readonly TypeProblem[] {
  if (output === "") return [];
  const found = [...output.matchAll(/^(TS\d+) \[ERROR\]: (.*?)\n +at (\S+:\d+:\d+)$/gms)];
  if (found.length === 0) return [{ path: "types", message: output.trim() }];
  return found.map(([, code, text, path]) => {
    // After the message stand the line and the marks under it.
    const message = text.replace(/\n[^\n]*\n\s*[~^]+$/, "");
    return { path, message: `${code}: ${message}` };
  });
}
