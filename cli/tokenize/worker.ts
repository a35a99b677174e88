/// <reference lib="deno.worker" />
/** A thread that encodes chunks, one after another, in the order in which they come. */

import { FormatError, type Problem } from "../../formats/error.ts";
import type { Tokenizer } from "../../formats/tokenizer/tokenizer.ts";
import { loadTokenizer } from "../../formats/tokenizer/load.ts";
import { encodeChunk, type Encoded, type Encoding } from "./encoding.ts";
import type { Chunk } from "./input.ts";

/** What the thread is told once, before any chunk. */
export interface Start extends Encoding {
  /** The folder with tokenizer.json. */
  readonly tokenizer: string;
}

/** What it answers to every chunk. */
export type Answer =
  | { readonly encoded: Encoded }
  /** What is wrong with the chunk. */
  | { readonly problems: readonly Problem[] }
  /** A bug, or memory that is not there. */
  | { readonly error: string };

let encode: (chunk: Chunk) => Encoded;

function answerTo(chunk: Chunk): Answer {
  try {
    return { encoded: encode(chunk) };
  } catch (error) {
    if (error instanceof FormatError) return { problems: error.problems };
    return { error: error instanceof Error ? error.stack ?? error.message : String(error) };
  }
}

self.onmessage = ({ data }: MessageEvent<Start | Chunk>) => {
  if ("tokenizer" in data) {
    const tokenizer: Tokenizer = loadTokenizer(data.tokenizer);
    encode = (chunk) => encodeChunk(chunk, tokenizer, data);
    return;
  }
  const answer = answerTo(data);
  const moved = "encoded" in answer
    ? [answer.encoded.tokens.buffer, answer.encoded.lengths.buffer]
    : [];
  self.postMessage(answer, moved);
};
