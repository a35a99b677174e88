/** Decoding far beyond a prompt: time of a token and memory, by position. */

import { type LoadedModel, openSession } from "../infer/session.ts";
import { median } from "./timing.ts";

/** What is measured. */
export interface DecodeOptions {
  /** Ids that the decoding starts from, at least one. */
  readonly prompt: readonly number[];
  /** Tokens to decode. */
  readonly tokens: number;
  /** Tokens of a window, of which the median counts. */
  readonly window: number;
}

/** What was measured over a window of tokens. */
export interface DecodeWindow {
  /** Tokens before its end, those of the prompt included. */
  readonly position: number;
  /** Median time of a token. */
  readonly milliseconds: number;
  /** The model's state after it. */
  readonly stateBytes: number;
  /** Memory of the whole process after it. */
  readonly residentBytes: number;
}

/** Decodes greedily, whatever comes; a shorter window at the end is left out. */
export async function benchDecode(
  model: LoadedModel,
  { prompt, tokens, window }: DecodeOptions,
  onProgress: (done: number) => void = () => {},
): Promise<DecodeWindow[]> {
  const session = openSession(model);
  const windows: DecodeWindow[] = [];
  try {
    let ids = await session.advanceGreedily([prompt]);
    const times = new Float64Array(window);
    for (let done = 0; done + window <= tokens; done += window) {
      for (let i = 0; i < window; i++) {
        const start = performance.now();
        ids = await session.advanceGreedily([ids]);
        times[i] = performance.now() - start;
      }
      windows.push({
        position: session.position,
        milliseconds: median(times),
        stateBytes: session.stateBytes,
        residentBytes: Deno.memoryUsage().rss,
      });
      onProgress(done + window);
    }
    return windows;
  } finally {
    session.free();
  }
}
