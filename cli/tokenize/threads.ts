/** Chunks encoded by several threads, and given back in their order. */

import { FormatError } from "../../formats/error.ts";
import type { Encoded } from "./encoding.ts";
import type { Chunk } from "./input.ts";
import type { Answer, Start } from "./worker.ts";

/** Chunks that a thread has at most: one in work, and one that it finds when that is done. */
const AHEAD = 2;

/** A chunk and what became of it. */
export interface Done {
  readonly chunk: Chunk;
  readonly encoded: Encoded;
}

interface Thread {
  readonly worker: Worker;
  /** Who waits for its next answers. */
  readonly waiting: ((answer: Answer) => void)[];
}

function startThread(start: Start): Thread {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const waiting: Thread["waiting"] = [];
  worker.onmessage = ({ data }: MessageEvent<Answer>) => waiting.shift()?.(data);
  worker.onerror = (event) => {
    event.preventDefault();
    waiting.splice(0).forEach((resolve) => resolve({ error: event.message }));
  };
  worker.postMessage(start);
  return { worker, waiting };
}

/**
 * Encodes chunks on so many threads. The order is that of the chunks, whichever thread is faster.
 * @throws FormatError for the first chunk with problems, and whatever reading the chunks throws.
 */
export async function* encodeInOrder(
  chunks: Iterable<Chunk>,
  threads: number,
  start: Start,
): AsyncGenerator<Done> {
  const team = Array.from({ length: threads }, () => startThread(start));
  const pending: { chunk: Chunk; answer: Promise<Answer> }[] = [];
  const send = (chunk: Chunk) => {
    const { worker, waiting } = team.reduce((a, b) => b.waiting.length < a.waiting.length ? b : a);
    const answer = new Promise<Answer>((resolve) => void waiting.push(resolve));
    worker.postMessage(chunk, [chunk.bytes.buffer]);
    pending.push({ chunk, answer });
  };
  const receive = async (): Promise<Done> => {
    const { chunk, answer } = pending.shift()!;
    const result = await answer;
    if ("problems" in result) throw new FormatError(result.problems);
    if ("error" in result) throw new Error(`a thread failed at ${chunk.path}: ${result.error}`);
    return { chunk, encoded: result.encoded };
  };
  try {
    for (const chunk of chunks) {
      send(chunk);
      if (pending.length >= AHEAD * threads) yield await receive();
    }
    while (pending.length > 0) yield await receive();
  } finally {
    team.forEach(({ worker }) => worker.terminate());
  }
}
