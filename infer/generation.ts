/** Writing text, token by token. */

import { type Random, randomStream } from "../models/random.ts";
import type { NextIds } from "./next_ids.ts";
import { sample, type SamplingOptions } from "./sampler.ts";
import { type LoadedModel, openSession, type Session } from "./session.ts";

/** What is to be written. */
export interface GenerateOptions extends SamplingOptions {
  /** Tokens at most. */
  readonly tokens: number;
  readonly seed: number;
  /** Ids that end the text; they are not part of it. */
  readonly stop?: readonly number[];
}

/** What a text may go on with: its logits, or the greedy id, which the device finds. */
export type Found = Float32Array | number;

/** Takes ids of every text; what each may go on with. */
export async function advance(
  session: Session,
  ids: NextIds,
  { temperature }: GenerateOptions,
): Promise<readonly Found[]> {
  if (temperature === 0) return [...await session.advanceGreedily(ids)];
  const logits = await session.advance(ids);
  const size = logits.length / ids.length;
  return ids.map((_, text) => logits.subarray(text * size, (text + 1) * size));
}

/** The next id of a text. */
export const chosen = (found: Found, options: GenerateOptions, random: Random): number =>
  typeof found === "number" ? found : sample(found, options, random);

/** Continues a prompt of at least one id; yields each new id as soon as it is known. */
export async function* generate(
  model: LoadedModel,
  prompt: ArrayLike<number>,
  options: GenerateOptions,
): AsyncGenerator<number> {
  if (prompt.length === 0) throw new Error("generate: expected a prompt of at least one token");
  const random: Random = randomStream(options.seed, "generate");
  const session = openSession(model);
  try {
    let last = prompt;
    for (let i = 0; i < options.tokens; i++) {
      const [found] = await advance(session, [last], options);
      const id = chosen(found, options, random);
      if (options.stop?.includes(id)) return;
      yield id;
      last = [id];
    }
  } finally {
    session.free();
  }
}
