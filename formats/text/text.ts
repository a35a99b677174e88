/** Plain text as documents: a file each. */
import { readText } from "../json_file.ts";
import { sourceFiles } from "./paths.ts";

/** A text and where it comes from. */
export interface Document {
  readonly text: string;
  readonly file: string;
  /** Line of a file that holds a document a line, from 1. */
  readonly line?: number;
}

/** The largest text file that is read: longer ones do not fit a JavaScript string. */
export const TEXT_LIMIT = 500_000_000;

/**
 * Reads the files of a source one after the other, in the order of their names.
 * @param source a pattern of paths or `npm:PACKAGE/PATTERN`
 * @throws FormatError where nothing matches, for files that are no UTF-8 or too large.
 */
export function* readTexts(source: string): Generator<Document> {
  for (const file of sourceFiles(source)) yield { text: readText(file, TEXT_LIMIT), file };
}
