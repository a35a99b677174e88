/** What a model costs and writes at inference, for the report. */

import type { Tokenizer } from "../formats/tokenizer/tokenizer.ts";
import { generate } from "../infer/generate.ts";
import { type LoadedModel, stateBytes } from "../infer/session.ts";
import type { TokenStream } from "./data.ts";
import type { InferenceReport } from "./report.ts";

/** Tokens of the prompt, and tokens that are written after it. */
const PROMPT = 16;
const WRITTEN = 96;
/** Tokens written before the clock starts, while kernels are compiled. */
const WARM_UP = 16;

/** A prompt: the first tokens of the held-out text that belong to one document. */
export function promptOf(text: TokenStream, { eosId }: Tokenizer): Int32Array {
  const ids = text.read(0, Math.min(text.length, 16 * PROMPT));
  const end = eosId === undefined ? -1 : ids.indexOf(eosId);
  const begin = end >= 0 && end < ids.length - PROMPT ? end + 1 : 0;
  return ids.slice(begin, begin + PROMPT);
}

/** Bytes of state, tokens a second for one text, and a sample (temperature 0.8, nucleus 0.95). */
export async function measureInference(
  model: LoadedModel,
  tokenizer: Tokenizer,
  prompt: Int32Array,
): Promise<InferenceReport> {
  const ids: number[] = [];
  let start = 0;
  for await (
    const id of generate(model, prompt, {
      tokens: WARM_UP + WRITTEN,
      temperature: 0.8,
      topP: 0.95,
      seed: 0,
    })
  ) {
    ids.push(id);
    if (ids.length === WARM_UP) start = performance.now();
  }
  const seconds = (performance.now() - start) / 1000;
  return {
    stateBytesAt1K: stateBytes(model.spec, 1, 1024),
    stateBytesAt32K: stateBytes(model.spec, 1, 32768),
    tokensPerSecond: (ids.length - WARM_UP) / seconds,
    sample: tokenizer.decode(ids),
  };
}
