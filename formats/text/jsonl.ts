/** JSON lines as documents: an object a line, the text in one of its fields. */
import { FormatError, type Problem, quote, show, systemError } from "../error.ts";
import { isJsonObject } from "../json.ts";
import { sourceFiles } from "./paths.ts";
import type { Document } from "./text.ts";

/** The longest line that is read; a file without line ends is no JSON lines. */
export const LINE_LIMIT = 100_000_000;

/** So many bad lines are enough to know that a file is not what was meant. */
const BAD_LINES = 100;

/** Bytes that are read at a time. */
const BLOCK_BYTES = 1 << 20;

/**
 * Reads the lines of a source's files, in the order of their names. Files are read in blocks.
 * Empty lines are passed over.
 * @param source a pattern of paths or `npm:PACKAGE/PATTERN`
 * @param field the key whose text is the document
 * @throws FormatError where nothing matches, and at the end of a file for all its bad lines, each
 * by its number. What was yielded of that file is then not to be used.
 */
export function* readJsonl(source: string, field: string): Generator<Document> {
  for (const file of sourceFiles(source)) {
    const problems: Problem[] = [];
    let number = 0;
    for (const line of readLines(file)) {
      number++;
      if (line.trim() === "") continue;
      const text = textOfLine(line, field, `${file}:${number}`, problems);
      if (problems.length >= BAD_LINES) break;
      if (text !== undefined && problems.length === 0) yield { text, file, line: number };
    }
    if (problems.length > 0) throw new FormatError(problems);
  }
}

/**
 * The text in a field of a JSON line; where there is none, undefined and a problem more.
 * @param place file and line, as the problem names them
 */
export function textOfLine(
  line: string,
  field: string,
  place: string,
  problems: Problem[],
): string | undefined {
  const wrong = (expected: string, found: string) => {
    problems.push({ file: place, expected, found });
  };
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    wrong("a JSON object", quote((error as Error).message));
    return undefined;
  }
  if (!isJsonObject(value)) wrong("a JSON object", show(value));
  else {
    const text = Object.hasOwn(value, field) ? value[field] : undefined;
    if (typeof text === "string") return text;
    wrong(`a text in the field ${quote(field)}`, show(text));
  }
  return undefined;
}

/**
 * The lines of a UTF-8 file without their ends.
 * @throws FormatError for bytes that are no UTF-8 and for a line beyond the limit.
 */
export function* readLines(path: string): Generator<string> {
  try {
    using file = Deno.openSync(path);
    const utf8 = new TextDecoder("utf-8", { fatal: true });
    const block = new Uint8Array(BLOCK_BYTES);
    let number = 1;
    let rest = "";
    for (;;) {
      const count = file.readSync(block);
      let text: string;
      try {
        text = count === null
          ? utf8.decode()
          : utf8.decode(block.subarray(0, count), { stream: true });
      } catch (error) {
        throw new FormatError({
          file: path,
          at: `from line ${number} on`,
          expected: "UTF-8 text",
          found: "other bytes",
          advice: "convert the file to UTF-8",
        }, { cause: error });
      }
      const lines = (rest + text).split("\n");
      rest = lines.pop() as string;
      for (const line of lines) {
        yield line.endsWith("\r") ? line.slice(0, -1) : line;
        number++;
      }
      if (rest.length > LINE_LIMIT) {
        throw new FormatError({
          file: path,
          at: `line ${number}`,
          expected: `a line of at most ${LINE_LIMIT} characters`,
          found: "a longer one",
          advice: "write one document a line",
        });
      }
      if (count === null) break;
    }
    if (rest !== "") yield rest;
  } catch (error) {
    throw systemError(path, "read", error);
  }
}
