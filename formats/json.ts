/** JSON from strangers: sizes are capped, keys that are given twice are found. */
import { FormatError, quote } from "./error.ts";

/** A JSON object. */
export type JsonObject = { readonly [key: string]: unknown };

/** Whether the value is a JSON object, which lists and null are not. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Bytes as text. @throws FormatError where they are not UTF-8. */
export function decodeUtf8(bytes: Uint8Array, file: string, at?: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new FormatError({
      file,
      at,
      expected: "UTF-8 text",
      found: "other bytes",
      advice: "convert the file to UTF-8",
    }, { cause: error });
  }
}

/** Text as JSON. @throws FormatError where it is none. */
export function parseJson(text: string, file: string, at?: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const found = quote((error as Error).message);
    throw new FormatError({ file, at, expected: "JSON", found }, { cause: error });
  }
}

/**
 * Keys that an object of the text holds more than once, at any depth. `JSON.parse` takes the last
 * one silently and other readers the first, so that one file would mean different things.
 * @param text valid JSON
 */
export function duplicateKeys(text: string): readonly string[] {
  const duplicates: string[] = [];
  /** The keys of each open object; null for an open list. */
  const open: Array<Set<string> | null> = [];
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === "{") open.push(new Set());
    else if (c === "[") open.push(null);
    else if (c === "}" || c === "]") open.pop();
    else if (c === '"') {
      const end = endOfString(text, i);
      if (text[skipSpace(text, end)] === ":") {
        const key: string = JSON.parse(text.slice(i, end));
        const keys = open[open.length - 1];
        if (keys?.has(key)) duplicates.push(key);
        keys?.add(key);
      }
      i = end - 1;
    }
  }
  return duplicates;
}

/** The index after the closing quote of the string that starts at `start`. */
function endOfString(text: string, start: number): number {
  for (let i = start + 1;; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === '"') return i + 1;
  }
}

function skipSpace(text: string, start: number): number {
  let i = start;
  while (text[i] === " " || text[i] === "\n" || text[i] === "\r" || text[i] === "\t") i++;
  return i;
}
