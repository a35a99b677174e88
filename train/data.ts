/** Token streams: what training reads, and what it must never see. */

import { slotWalk } from "./sampling.ts";
import type { TokenBatch } from "./trainer.ts";

/** A stream of token ids that can be read anywhere. */
export interface TokenStream {
  readonly length: number;
  /** Ids start … start+count−1. */
  read(start: number, count: number): Int32Array;
}

/** Training and held-out parts of one stream. */
export interface Split {
  readonly train: TokenStream;
  readonly heldOut: TokenStream;
}

/** Parts of the stream from whose ends the held-out tokens come, so that they are like the rest. */
const SPANS = 32;

/** A part of a stream. */
interface Piece {
  readonly stream: TokenStream;
  readonly begin: number;
  readonly end: number;
}

/** Parts of streams, one after another, as one stream. */
function pieces(list: readonly Piece[]): TokenStream {
  const starts: number[] = [];
  let length = 0;
  for (const { begin, end } of list) {
    starts.push(length);
    length += end - begin;
  }
  return {
    length,
    read: (start, count) => {
      if (!(start >= 0 && count >= 0 && start + count <= length)) {
        throw new RangeError(`tokens: ${start} … ${start + count - 1} of ${length}`);
      }
      const out = new Int32Array(count);
      let i = starts.findLastIndex((s) => s <= start);
      for (let done = 0; done < count; i++) {
        const { stream, begin, end } = list[i];
        const from = begin + start + done - starts[i];
        const part = Math.min(count - done, end - from);
        if (part > 0) out.set(stream.read(from, part), done);
        done += part;
      }
      return out;
    },
  };
}

/** Keeps the last `fraction` of each of 32 equal spans for evaluation. */
export function splitTokens(stream: TokenStream, fraction: number): Split {
  const train: Piece[] = [];
  const heldOut: Piece[] = [];
  for (let span = 0; span < SPANS; span++) {
    const begin = Math.floor(stream.length * span / SPANS);
    const end = Math.floor(stream.length * (span + 1) / SPANS);
    const cut = end - Math.round((end - begin) * fraction);
    train.push({ stream, begin, end: cut });
    heldOut.push({ stream, begin: cut, end });
  }
  return { train: pieces(train), heldOut: pieces(heldOut) };
}

/** Several streams as one. */
export function joinStreams(streams: readonly TokenStream[]): TokenStream {
  return pieces(streams.map((stream) => ({ stream, begin: 0, end: stream.length })));
}

/** Sample by sample, context+1 tokens each, in the order of the magic-prime walk. */
export function batchReader(
  stream: TokenStream,
  context: number,
  batch: number,
): (firstSample: number) => TokenBatch {
  // Slot s needs tokens s·context … s·context+context.
  const walk = slotWalk(stream.length - 1, context);
  return (firstSample) => {
    const ids = new Int32Array(batch * context);
    const targets = new Int32Array(batch * context);
    for (let b = 0; b < batch; b++) {
      const tokens = stream.read(walk.slot(firstSample + b) * context, context + 1);
      ids.set(tokens.subarray(0, context), b * context);
      targets.set(tokens.subarray(1), b * context);
    }
    return { ids, targets };
  };
}
