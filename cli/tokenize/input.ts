/** What is tokenised, in pieces that threads can work on apart from one another. */

import { FormatError, systemError } from "../../formats/error.ts";
import { LINE_LIMIT } from "../../formats/text/jsonl.ts";
import { sourceFiles } from "../../formats/text/paths.ts";
import { TEXT_LIMIT } from "../../formats/text/text.ts";

/** A file, its documents in its order. */
export interface InputFile {
  readonly path: string;
  readonly bytes: number;
  /** When it was last written, in milliseconds since 1970. */
  readonly modified: number;
  /** JSON lines with the text in this field; without one the whole file is one document. */
  readonly field?: string;
}

/** A place between two documents. */
export interface Position {
  /** Index of the file. */
  readonly file: number;
  readonly byte: number;
  /** Line of the file, from 1. */
  readonly line: number;
}

/** Whole documents, as they stand in a file. */
export interface Chunk {
  readonly path: string;
  readonly field?: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Line that it begins with, from 1. */
  readonly line: number;
  /** Where the next one begins. */
  readonly next: Position;
}

/** Before anything. */
export const BEGINNING: Position = { file: 0, byte: 0, line: 1 };

/** Bytes of JSON lines that are handed to a thread at a time. */
const CHUNK_BYTES = 1 << 20;

/** The field that files named .jsonl have their text in where none is asked for. */
const USUAL_FIELD = "text";

/**
 * The files of sources, in the order of the sources and of their names.
 * @param field reads all of them as JSON lines; without one those named .jsonl are, by `text`
 * @throws FormatError for every source that matches nothing and every text that is too large.
 */
export function inputFiles(sources: readonly string[], field: string | undefined): InputFile[] {
  const problems: FormatError[] = [];
  const files = sources.flatMap((source) => {
    try {
      return sourceFiles(source).map((path) => inputFile(path, field));
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      problems.push(error);
      return [];
    }
  });
  if (problems.length > 0) throw new FormatError(problems.flatMap(({ problems }) => problems));
  return files;
}

function inputFile(path: string, field: string | undefined): InputFile {
  try {
    const { size, mtime } = Deno.statSync(path);
    const lines = field ?? (path.endsWith(".jsonl") ? USUAL_FIELD : undefined);
    if (lines === undefined && size > TEXT_LIMIT) {
      throw new FormatError({
        file: path,
        expected: `a text of at most ${TEXT_LIMIT} bytes, which is one document`,
        found: `${size} bytes`,
        advice: "split it, or give --field if it is JSON lines",
      });
    }
    return {
      path,
      bytes: size,
      modified: mtime?.getTime() ?? 0,
      ...(lines === undefined ? {} : { field: lines }),
    };
  } catch (error) {
    throw systemError(path, "read", error);
  }
}

/**
 * The documents from a position on, in chunks: a text file, or JSON lines of about 1 MiB.
 * @throws FormatError for files that cannot be read and lines beyond the limit.
 */
export function* chunksOf(files: readonly InputFile[], from: Position): Generator<Chunk> {
  for (let file = from.file; file < files.length; file++) {
    const { path, field } = files[file];
    try {
      if (field === undefined) {
        const bytes = Deno.readFileSync(path);
        yield { path, bytes, line: 1, next: { file: file + 1, byte: 0, line: 1 } };
      } else {
        const start = file === from.file ? from : { ...BEGINNING, file };
        yield* lineChunks(path, field, start);
      }
    } catch (error) {
      throw systemError(path, "read", error);
    }
  }
}

function* lineChunks(path: string, field: string, start: Position): Generator<Chunk> {
  using file = Deno.openSync(path);
  file.seekSync(start.byte, Deno.SeekMode.Start);
  let { byte, line } = start;
  let rest = new Uint8Array(0);
  for (;;) {
    const block = readBlock(file);
    const ends = block.length < CHUNK_BYTES;
    const text = new Uint8Array(rest.length + block.length);
    text.set(rest);
    text.set(block, rest.length);
    const cut = ends ? text.length : text.lastIndexOf(NEWLINE) + 1;
    rest = text.slice(cut);
    if (cut > 0) {
      const bytes = text.slice(0, cut);
      const first = line;
      byte += cut;
      line += linesIn(bytes);
      const next = ends ? { ...BEGINNING, file: start.file + 1 } : { file: start.file, byte, line };
      yield { path, field, bytes, line: first, next };
    }
    if (ends) return;
    if (rest.length > LINE_LIMIT) {
      throw new FormatError({
        file: path,
        at: `line ${line}`,
        expected: `a line of at most ${LINE_LIMIT} bytes`,
        found: "a longer one",
        advice: "write one document a line",
      });
    }
  }
}

const NEWLINE = 10;

function linesIn(bytes: Uint8Array): number {
  let lines = 0;
  for (const byte of bytes) if (byte === NEWLINE) lines++;
  return lines;
}

/** As many bytes as a chunk has, fewer only at the end of the file. */
function readBlock(file: Deno.FsFile): Uint8Array {
  const block = new Uint8Array(CHUNK_BYTES);
  let length = 0;
  while (length < block.length) {
    const count = file.readSync(block.subarray(length));
    if (count === null) break;
    length += count;
  }
  return block.subarray(0, length);
}
