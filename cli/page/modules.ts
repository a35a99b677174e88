/** The modules of the page: TypeScript with its types taken out, each with all that it imports. */

import { stripTypeScriptTypes } from "node:module";

/** `from "…"` and `import "…"` where a statement may begin. */
const SPECIFIERS = /^(?:import\s*|(?:import|export)\b[^"'`;]*?\bfrom\s*)"([^"\n]+)"/gm;

/** What a module's JavaScript imports, as it is written. */
export function importsOf(code: string): string[] {
  return [...code.matchAll(SPECIFIERS)].map(([, specifier]) => specifier);
}

/**
 * JavaScript of a TypeScript module, line by line the same.
 * @throws Error, naming it, for syntax that is more than types: parameter properties, enums.
 */
export function withoutTypes(code: string, path: string): string {
  try {
    return stripTypeScriptTypes(code, { mode: "strip" });
  } catch (error) {
    throw new Error(`${path}: expected types that can be taken out: ${(error as Error).message}`);
  }
}

/**
 * A module and all that it imports, by path from the root: nothing else is served.
 * @param bare the specifiers that the page's import map has
 * @throws Error for an import that is neither a path within the root nor in the import map.
 */
export function collectModules(
  entry: string,
  read: (path: string) => string,
  bare: ReadonlySet<string>,
): ReadonlyMap<string, string> {
  const modules = new Map<string, string>();
  const waiting = [entry];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (modules.has(path)) continue;
    const code = withoutTypes(read(path), path);
    modules.set(path, code);
    for (const specifier of importsOf(code)) {
      if (bare.has(specifier)) continue;
      if (!/^\.\.?\//.test(specifier)) {
        throw new Error(`${path}: imports ${specifier}, which the page's import map has not`);
      }
      waiting.push(new URL(specifier, `root:/${path}`).pathname.slice(1));
    }
  }
  return modules;
}
