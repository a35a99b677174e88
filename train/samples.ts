/** Text that a model writes itself, to convert it without a corpus. */

import type { Samples } from "../dsl/sources.ts";
import { sample } from "../infer/sampler.ts";
import { type LoadedModel, openSession } from "../infer/session.ts";
import { stateBytes } from "../infer/state.ts";
import type { Tokenizer } from "../formats/tokenizer/tokenizer.ts";
import { randomStream } from "../models/random.ts";

/** Texts that are written at the same time, at most, and bytes of their states and logits. */
const BATCH = 256;
const BATCH_BYTES = 2 ** 28;
/** Tokens of the longest text. */
const LONGEST = 512;

/** Texts to write at the same time: enough to keep the device busy, as far as memory allows. */
function batchSize({ spec }: LoadedModel, length: number, tokens: number): number {
  const bytes = stateBytes(spec, 1, length) + 8 * spec.config.vocabSize;
  const fit = Math.max(1, Math.floor(BATCH_BYTES / bytes));
  return Math.min(BATCH, fit, Math.ceil(tokens / length));
}

/** Reports how many tokens there are. */
export type SampleProgress = (tokens: number, total: number) => void;

/**
 * Writes texts until they have `tokens` tokens together: each starts with the prompt (or what the
 * tokenizer puts before every text) and ends where the model ends it or is `longest` tokens long.
 */
export async function* writeSamples(
  model: LoadedModel,
  tokenizer: Tokenizer,
  { tokens, temperature, topP, seed, prompt }: Samples,
  longest: number,
  onProgress: SampleProgress,
): AsyncGenerator<Int32Array> {
  const start = [...tokenizer.encode(prompt)];
  const first = tokenizer.bosId ?? tokenizer.eosId ?? 0;
  if (start.length === 0) start.push(first);
  const length = Math.max(start.length + 1, Math.min(longest, LONGEST));
  const random = randomStream(seed, "samples");
  const { vocabSize } = model.spec.config;
  const batch = batchSize(model, length, tokens);
  let written = 0;
  while (written < tokens) {
    const texts = Array.from({ length: batch }, () => [...start]);
    const open = new Set(texts.keys());
    const session = openSession(model, batch);
    try {
      let logits = await session.advance(texts);
      for (let n = start.length; n < length && open.size > 0; n++) {
        texts.forEach((text, b) => {
          const own = logits.subarray(b * vocabSize, (b + 1) * vocabSize);
          const id = sample(own, { temperature, topP }, random);
          if (open.has(b)) text.push(id);
          if (id === tokenizer.eosId) open.delete(b);
        });
        // A text that has ended goes on with anything: what it says is not kept.
        const next = texts.map((text) => [text[text.length - 1]]);
        if (n + 1 < length && open.size > 0) logits = await session.advance(next);
      }
    } finally {
      session.free();
    }
    for (const text of texts) {
      if (written >= tokens) break;
      const kept = text.slice(0, Math.min(text.length, tokens - written));
      written += kept.length;
      yield Int32Array.from(kept);
    }
    onProgress(written, tokens);
  }
}
