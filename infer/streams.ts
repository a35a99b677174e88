/** Writing several texts at a time, each with a state of its own. */

import { randomStream } from "../models/random.ts";
import { advance, chosen, type Found, type GenerateOptions } from "./generation.ts";
import { type LoadedModel, openSession } from "./session.ts";

/** Something that happened to one of the texts. */
export interface StreamEvent {
  /** The number of its prompt. */
  readonly prompt: number;
  /** The next id of the text; where it is missing, the text has ended. */
  readonly id?: number;
}

/** A text that is being written. */
interface Stream {
  readonly prompt: number;
  readonly next: (found: Found) => number | undefined;
}

/**
 * Continues prompts, each of at least one id, `streams` of them at a time: a prompt is taken alone,
 * at matrix speed, and its state put in the place of a text that has ended, while the others go on.
 * Text i is what `generate` writes with the seed `seed` + i, up to the rounding of products of
 * several rows. Yields the ids of all texts as they come.
 */
export async function* generateStreams(
  model: LoadedModel,
  prompts: readonly ArrayLike<number>[],
  options: GenerateOptions,
  streams: number,
): AsyncGenerator<StreamEvent> {
  if (prompts.some((prompt) => prompt.length === 0)) {
    throw new Error("generate: expected prompts of at least one token each");
  }
  const batch = Math.min(streams, prompts.length);
  const alone = openSession(model);
  const together = openSession(model, batch);
  const slots = new Array<Stream | undefined>(batch);
  /** The last id of every text, which it goes on from. */
  const last = new Array<number[] | undefined>(batch);
  let waiting = 0;

  const open = (prompt: number): Stream => {
    const random = randomStream(options.seed + prompt, "generate");
    let left = options.tokens;
    const next = (found: Found) => {
      const id = left-- > 0 ? chosen(found, options, random) : undefined;
      return id === undefined || options.stop?.includes(id) ? undefined : id;
    };
    return { prompt, next };
  };
  /** Takes the next id of a slot's text. */
  function* take(slot: number, found: Found): Generator<StreamEvent> {
    const { prompt, next } = slots[slot]!;
    const id = next(found);
    yield { prompt, ...(id === undefined ? {} : { id }) };
    last[slot] = id === undefined ? undefined : [id];
    if (id === undefined) slots[slot] = undefined;
  }

  try {
    while (true) {
      for (let slot = 0; slot < batch; slot++) {
        while (slots[slot] === undefined && waiting < prompts.length) {
          alone.reset(0);
          slots[slot] = open(waiting);
          const [found] = await advance(alone, [prompts[waiting++]], options);
          yield* take(slot, found);
          if (slots[slot] !== undefined) await together.restore(slot, await alone.save(0));
        }
      }
      if (slots.every((stream) => stream === undefined)) return;
      const found = await advance(together, last, options);
      for (let slot = 0; slot < batch; slot++) {
        if (slots[slot] !== undefined) yield* take(slot, found[slot]);
      }
    }
  } finally {
    alone.free();
    together.free();
  }
}
