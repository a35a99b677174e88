/** Continuing the prompts of a file, several at a time. */

import { FormatError } from "../formats/error.ts";
import { readText } from "../formats/json_file.ts";
import type { Tokenizer } from "../formats/tokenizer/tokenizer.ts";
import type { GenerateOptions } from "../infer/generation.ts";
import type { LoadedModel } from "../infer/session.ts";
import { generateStreams } from "../infer/streams.ts";

/** The largest file of prompts. */
const PROMPTS_LIMIT = 100_000_000;

/** A prompt and what was written after it. */
export interface Continuation {
  readonly prompt: string;
  readonly text: string;
  readonly promptIds: readonly number[];
  readonly ids: readonly number[];
}

/** The prompts of a UTF-8 file, one a line; lines of nothing are left out. */
export function readPrompts(file: string): string[] {
  const prompts = readText(file, PROMPTS_LIMIT).split(/\r?\n/).filter((line) => line !== "");
  if (prompts.length > 0) return prompts;
  throw new FormatError({
    file,
    expected: "a prompt a line",
    found: "no line with text",
    advice: "write prompts into it",
  });
}

/** Continues prompts; yields them in their order, each once it and those before it have ended. */
export async function* continuations(
  model: LoadedModel,
  tokenizer: Tokenizer,
  prompts: readonly string[],
  options: GenerateOptions,
  streams: number,
): AsyncGenerator<Continuation> {
  const encoded = prompts.map((prompt) => [...tokenizer.encode(prompt)]);
  const written = prompts.map((): number[] => []);
  const ended = new Set<number>();
  let shown = 0;
  for await (const { prompt, id } of generateStreams(model, encoded, options, streams)) {
    if (id !== undefined) written[prompt].push(id);
    else ended.add(prompt);
    for (; ended.has(shown); shown++) {
      const [promptIds, ids] = [encoded[shown], written[shown]];
      const text = tokenizer.decode([...promptIds, ...ids]);
      yield { prompt: prompts[shown], text, promptIds, ids };
    }
  }
}
