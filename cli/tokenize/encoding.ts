/** From the documents of a chunk to the bytes of a token file. */

import { TOKEN_TYPES, type TokenType } from "../../formats/binidx/header.ts";
import { encodeTokens } from "../../formats/binidx/write.ts";
import { FormatError, type Problem } from "../../formats/error.ts";
import { decodeUtf8 } from "../../formats/json.ts";
import { textOfLine } from "../../formats/text/jsonl.ts";
import { appended, type Tokenizer } from "../../formats/tokenizer/tokenizer.ts";
import type { Chunk } from "./input.ts";

/** How documents become tokens. */
export interface Encoding {
  readonly type: TokenType;
  /** Id that is appended to every document that has a token; none is without one. */
  readonly end?: number;
}

/** The tokens of a chunk. */
export interface Encoded {
  /** Documents one after another, as they are stored. */
  readonly tokens: Uint8Array<ArrayBuffer>;
  /** Tokens of each document. */
  readonly lengths: Int32Array<ArrayBuffer>;
}

/**
 * Encodes every document of a chunk.
 * @throws FormatError for bytes that are no UTF-8 and with every line that is no JSON object with a
 * text in the field, each by its number.
 */
export function encodeChunk(chunk: Chunk, tokenizer: Tokenizer, encoding: Encoding): Encoded {
  const { type, end } = encoding;
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const lengths: number[] = [];
  for (const text of textsOf(chunk)) {
    const ids = tokenizer.encode(text);
    const ended = end === undefined || ids.length === 0 ? ids : appended(ids, end);
    parts.push(new Uint8Array(encodeTokens(ended, type, chunk.path).buffer));
    lengths.push(ended.length);
  }
  const size = TOKEN_TYPES[type].array.BYTES_PER_ELEMENT;
  const tokens = new Uint8Array(size * lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    tokens.set(part, at);
    at += part.length;
  }
  return { tokens, lengths: Int32Array.from(lengths) };
}

function textsOf({ path, field, bytes, line }: Chunk): string[] {
  if (field === undefined) return [decodeUtf8(bytes, path)];
  const problems: Problem[] = [];
  const lines = decodeLines(bytes, path, line).split("\n");
  const texts = lines.flatMap((text, i) => {
    if (text.trim() === "") return [];
    const found = textOfLine(text, field, `${path}:${line + i}`, problems);
    return found === undefined ? [] : [found];
  });
  if (problems.length > 0) throw new FormatError(problems);
  return texts;
}

/** A byte order mark is one at the start of a file only. */
function decodeLines(bytes: Uint8Array, path: string, line: number): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: line > 1 }).decode(bytes);
  } catch (error) {
    throw new FormatError({
      file: path,
      at: `from line ${line} on`,
      expected: "UTF-8 text",
      found: "other bytes",
      advice: "convert the file to UTF-8",
    }, { cause: error });
  }
}
