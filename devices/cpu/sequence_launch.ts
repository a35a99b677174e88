/** A launch of the device as machine code plays it, for one of its threads. */

import type { LaunchText } from "./messages.ts";
import type { SequenceLaunch } from "./sequence.ts";

/** For whom. */
export interface LaunchContext {
  /** Machine code by kernel. */
  readonly codes: ReadonlyMap<number, number>;
  /** Where the device's memory is. */
  readonly base: bigint;
  readonly scratch: number;
  readonly thread: number;
  /** Threads that share the work; a single one takes each launch as one piece. */
  readonly threads: number;
  /** The word from which the threads take pieces. */
  readonly counter: number;
}

/** What is not machine code has no part in a sequence. */
export function nativeLaunch(text: LaunchText, context: LaunchContext): SequenceLaunch {
  const { kernel, operands, items, alone, waits, prepare } = text;
  const { codes, base, scratch, thread, threads, counter } = context;
  const code = typeof kernel === "number" ? codes.get(kernel) : undefined;
  const whole = alone || threads === 1;
  const grain = whole ? items : text.grain;
  // With a piece for every thread each begins with its own, which it can ask for before.
  const begins = Math.ceil(items / grain) >= threads;
  return {
    code: code === undefined || (alone && thread !== 0) ? 0 : code,
    prepare: prepare === undefined ? 0 : codes.get(prepare.kernel) ?? 0,
    prepared: prepare?.content ?? 0,
    operands: [...operands, scratch].map((address) => base + BigInt(address)),
    items,
    grain,
    ...(whole ? {} : { counter: base + BigInt(counter) }),
    first: whole ? 0 : begins ? thread * grain : -1,
    from: begins ? threads * grain : 0,
    waits: waits && threads > 1,
    ...aheadOf(text, context),
  };
}

/** Bytes that a waiting thread asks for at most: some microseconds of memory. */
const MOST_AHEAD = 32768;

/** What is read next, from the thread's first piece on. */
function aheadOf(
  { ahead }: LaunchText,
  { base, thread, threads }: LaunchContext,
): Pick<SequenceLaunch, "ahead"> {
  if (ahead === undefined || threads === 1 || thread >= ahead.pieces) return {};
  const { address, bytes, pieces } = ahead;
  const begin = address + thread * bytes;
  const end = Math.min(begin + MOST_AHEAD, address + pieces * bytes);
  return { ahead: { begin: base + BigInt(begin), end: base + BigInt(end) } };
}
