/** What a model costs and writes at inference, for the report. */

import type { Tokenizer } from "../formats/tokenizer/tokenizer.ts";
import { generate } from "../infer/generation.ts";
import type { LoadedModel } from "../infer/session.ts";
import { stateBytes } from "../infer/state.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import { count } from "../plan/plan.ts";
import type { TokenStream } from "./data.ts";
import type { InferenceReport } from "./report.ts";

/** Tokens of the prompt, and tokens of the sample that is written after it. */
const PROMPT = 16;
const SAMPLE = 112;
/** Writing goes on for so long, or so many tokens, before its speed is believed. */
const MILLISECONDS = 300;
const MOST_TOKENS = 4096;

/** A prompt: the first tokens of the held-out text that belong to one document. */
export function promptOf(text: TokenStream, { eosId }: Tokenizer): Int32Array {
  const ids = text.read(0, Math.min(text.length, 16 * PROMPT));
  const end = eosId === undefined ? -1 : ids.indexOf(eosId);
  const begin = end >= 0 && end < ids.length - PROMPT ? end + 1 : 0;
  return ids.slice(begin, begin + PROMPT);
}

/** What a model costs by its shape alone. */
export function staticInference(spec: ModelSpec): InferenceReport {
  return {
    parameters: count(modelParameters(spec)),
    stateBytesAt1K: stateBytes(spec, 1, 1024),
    stateBytesAt32K: stateBytes(spec, 1, 32768),
  };
}

/**
 * Bytes of state, tokens a second for one text, and a sample (temperature 0.8, nucleus 0.95). The
 * speed is that of the second half of what is written: in the first, kernels are still compiled.
 */
export async function measureInference(
  model: LoadedModel,
  tokenizer: Tokenizer,
  prompt: Int32Array,
): Promise<Required<InferenceReport>> {
  const ids: number[] = [];
  const times: number[] = [];
  const options = { tokens: MOST_TOKENS, temperature: 0.8, topP: 0.95, seed: 0 };
  for await (const id of generate(model, prompt, options)) {
    ids.push(id);
    times.push(performance.now());
    if (ids.length >= SAMPLE && times.at(-1)! - times[0] >= MILLISECONDS) break;
  }
  const middle = times.length >> 1;
  const seconds = (times.at(-1)! - times[middle]) / 1000;
  return {
    ...staticInference(model.spec),
    tokensPerSecond: (times.length - 1 - middle) / seconds,
    sample: tokenizer.decode(ids.slice(0, SAMPLE)),
  };
}
