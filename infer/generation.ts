/** Writing text, token by token. */

import { type Random, randomStream } from "../models/random.ts";
import { sample, type SamplingOptions } from "./sampler.ts";
import { type LoadedModel, openSession } from "./session.ts";

/** What is to be written. */
export interface GenerateOptions extends SamplingOptions {
  /** Tokens at most. */
  readonly tokens: number;
  readonly seed: number;
  /** Ids that end the text; they are not part of it. */
  readonly stop?: readonly number[];
}

/** Continues a prompt of at least one id; yields each new id as soon as it is known. */
export async function* generate(
  model: LoadedModel,
  prompt: ArrayLike<number>,
  options: GenerateOptions,
): AsyncGenerator<number> {
  if (prompt.length === 0) throw new Error("generate: expected a prompt of at least one token");
  const random: Random = randomStream(options.seed, "generate");
  const session = openSession(model);
  const next = async (ids: ArrayLike<number>) =>
    options.temperature === 0
      ? (await session.advanceGreedily([ids]))[0]
      : sample(await session.advance([ids]), options, random);
  try {
    let last = prompt;
    for (let i = 0; i < options.tokens; i++) {
      const id = await next(last);
      if (options.stop?.includes(id)) return;
      yield id;
      last = [id];
    }
  } finally {
    session.free();
  }
}
