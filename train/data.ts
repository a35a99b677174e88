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

interface Piece {
  readonly begin: number;
  readonly end: number;
}

function pieces(stream: TokenStream, list: readonly Piece[]): TokenStream {
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
        throw new RangeError(`tokens ${start} … ${start + count - 1} of ${length}`);
      }
      const out = new Int32Array(count);
      let i = starts.findLastIndex((s) => s <= start);
      for (let done = 0; done < count; i++) {
        const from = list[i].begin + start + done - starts[i];
        const part = Math.min(count - done, list[i].end - from);
        out.set(stream.read(from, part), done);
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
    if (cut > begin) train.push({ begin, end: cut });
    if (end > cut) heldOut.push({ begin: cut, end });
  }
  return { train: pieces(stream, train), heldOut: pieces(stream, heldOut) };
}

/** Several streams as one. */
export function joinStreams(streams: readonly TokenStream[]): TokenStream {
  if (streams.length === 1) return streams[0];
  const starts: number[] = [];
  let length = 0;
  for (const stream of streams) {
    starts.push(length);
    length += stream.length;
  }
  return {
    length,
    read: (start, count) => {
      const out = new Int32Array(count);
      let i = starts.findLastIndex((s) => s <= start);
      for (let done = 0; done < count; i++) {
        const at = start + done - starts[i];
        const part = Math.min(count - done, streams[i].length - at);
        if (part > 0) out.set(streams[i].read(at, part), done);
        done += Math.max(0, part);
      }
      return out;
    },
  };
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
