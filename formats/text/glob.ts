/**
 * Files by pattern: `*`, `?`, `[a-z]`, `{a,b}` within a name, `**` for folders of any depth. Names
 * that begin with a dot match only where the pattern has the dot. (node:fs's glob wants access to
 * the environment.)
 */
import { isAbsolute, join, normalize, resolve } from "node:path";
import { FormatError, systemError } from "../error.ts";
import { isFile } from "../files.ts";

/**
 * The files that match, in the order of their code units, so that a corpus is the same everywhere.
 * A path of a file that happens to have special characters in it is that file.
 * @throws FormatError where a folder cannot be read, and for a pattern that is none.
 */
export function expandGlob(pattern: string): string[] {
  if (isFile(pattern)) return [normalize(pattern)];
  const found = new Set<string>();
  for (const alternative of expandBraces(pattern)) {
    const segments = alternative.split(/[/\\]+/).filter((part) => part !== "" && part !== ".");
    const root = isAbsolute(alternative) ? resolve(alternative).split(/[/\\]/)[0] + "/" : "";
    collect(root, segments, found);
  }
  return [...found].sort();
}

/** Most patterns that the braces of one may stand for. */
const ALTERNATIVES_LIMIT = 1_024;

/** `{a,b}` as the list of patterns that it stands for; braces may nest. */
function expandBraces(pattern: string): string[] {
  const open = pattern.indexOf("{");
  if (open === -1) return [pattern];
  const parts: string[] = [];
  let depth = 0;
  let start = open + 1;
  for (let i = open; i < pattern.length; i++) {
    if (pattern[i] === "{") depth++;
    else if (pattern[i] === "}") depth--;
    if ((pattern[i] === "," && depth === 1) || depth === 0) {
      parts.push(pattern.slice(start, i));
      start = i + 1;
    }
    if (depth === 0) {
      const rest = expandBraces(pattern.slice(i + 1));
      const before = pattern.slice(0, open);
      const inner = parts.flatMap(expandBraces);
      if (inner.length * rest.length > ALTERNATIVES_LIMIT) throw tooMany(pattern);
      return inner.flatMap((part) => rest.map((end) => before + part + end));
    }
  }
  return [pattern];
}

const tooMany = (pattern: string) =>
  new FormatError({
    file: pattern,
    expected: `braces that stand for at most ${ALTERNATIVES_LIMIT} patterns`,
    found: "more",
    advice: "use * or several patterns",
  });

/** Adds the files below `folder` that match the remaining segments. */
function collect(folder: string, segments: readonly string[], found: Set<string>): void {
  const [segment, ...rest] = segments;
  if (segment === undefined) return;
  if (segment === "**") {
    collect(folder, rest.length === 0 ? ["*"] : rest, found);
    for (const { name, isDirectory } of entries(folder)) {
      // Links are not followed here: they could lead in circles.
      if (isDirectory && !name.startsWith(".")) collect(join(folder, name), segments, found);
    }
    return;
  }
  if (!/[*?[]/.test(segment)) {
    const path = join(folder, segment);
    if (rest.length > 0) collect(path, rest, found);
    else if (isFile(path)) found.add(path);
    return;
  }
  const matches = segmentMatcher(segment);
  for (const { name } of entries(folder)) {
    if (!matches(name) || (name.startsWith(".") && !segment.startsWith("."))) continue;
    const path = join(folder, name);
    if (rest.length > 0) collect(path, rest, found);
    else if (isFile(path)) found.add(path);
  }
}

/**
 * Whether names match a segment of a pattern. Greedy with one point of return, so that its time is
 * bounded by the product of the lengths whatever the pattern: a regular expression would not promise
 * that.
 */
function segmentMatcher(segment: string): (name: string) => boolean {
  const tokens = segment.match(/\*+|\[!?[^\]]+\]|./gsu)?.map(tokenOf) ?? [];
  return (name) => {
    const characters = [...name];
    let at = 0;
    let position = 0;
    let star = -1;
    let resume = 0;
    while (position < characters.length) {
      const token = tokens[at];
      if (token === "*") {
        star = at++;
        resume = position;
      } else if (token?.(characters[position])) {
        at++;
        position++;
      } else if (star >= 0) {
        at = star + 1;
        position = ++resume;
      } else return false;
    }
    while (tokens[at] === "*") at++;
    return at === tokens.length;
  };
}

/** What a part of a segment stands for: any characters, or one that passes. */
function tokenOf(part: string): "*" | ((character: string) => boolean) {
  if (part.startsWith("*")) return "*";
  if (part === "?") return () => true;
  if (part.length <= 2) return (character) => character === part;
  const inner = part.slice(1, -1).replace(/[\\[^]/g, "\\$&");
  const source = inner.startsWith("!") ? `[^${inner.slice(1)}]` : `[${inner}]`;
  try {
    const set = new RegExp(source, "su");
    return (character) => set.test(character);
  } catch (error) {
    throw new FormatError({
      file: part,
      expected: "a pattern of names",
      found: (error as Error).message,
      advice: "check what stands in brackets",
    }, { cause: error });
  }
}

function entries(folder: string): Deno.DirEntry[] {
  const path = folder === "" ? "." : folder;
  try {
    return [...Deno.readDirSync(path)];
  } catch (error) {
    // A name that is no folder matches nothing.
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return [];
    }
    throw systemError(path, "read", error);
  }
}
