/** Text and JSON files, whose sizes are capped. */
import { FormatError, systemError } from "./error.ts";
import { decodeUtf8, isJsonObject, type JsonObject, parseJson } from "./json.ts";

/**
 * Reads a UTF-8 text file. Larger files than `limit` bytes are refused before they are read.
 * @throws FormatError for a missing file, one over the limit, one that is not UTF-8.
 */
export function readText(path: string, limit: number): string {
  try {
    const { size, isDirectory } = Deno.statSync(path);
    if (isDirectory) {
      throw new FormatError({
        file: path,
        expected: "a file",
        found: "a folder",
        advice: "check the path",
      });
    }
    if (size > limit) {
      throw new FormatError({
        file: path,
        expected: `at most ${limit} bytes`,
        found: `${size} bytes`,
        advice: "check that it is the right file",
      });
    }
    return decodeUtf8(Deno.readFileSync(path), path);
  } catch (error) {
    throw systemError(path, "read", error);
  }
}

/** A JSON file whose top is an object. @throws FormatError for anything else. */
export function readJsonObject(path: string, limit: number): JsonObject {
  const value = parseJson(readText(path, limit), path);
  if (isJsonObject(value)) return value;
  throw new FormatError({ file: path, expected: "a JSON object", found: typeName(value) });
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "a list" : `a ${typeof value}`;
}
