/**
 * The shared words through which the threads of the CPU device meet. Everything goes through
 * shared memory, so that a thread never has to return to its event loop to get work.
 */

import { ALIGNMENT } from "./heap.ts";

/** Places of the shared words. */
export const WORDS = {
  /** Counts commands; a new value wakes the workers. */
  sequence: 0,
  command: 1,
  /** Where the command's text is in device memory, in units of 64 bytes, and its bytes. */
  textLine: 2,
  textBytes: 3,
  /** Workers that have finished the command. */
  finished: 4,
  /** Threads that have arrived at barriers since the run began. */
  arrived: 5,
  /** 1 once a thread has failed. */
  failed: 6,
  count: 16,
} as const;

/** What the main thread can ask for. */
export const COMMANDS = {
  exit: 1,
  loadKernels: 2,
  loadProgram: 3,
  dropProgram: 4,
  run: 5,
  profile: 6,
} as const;

/** Looks at a word before a thread goes to sleep: long enough for a kernel, short for a person. */
const BARRIER_SPINS = 4000;
const COMMAND_SPINS = 40000;

/** Another thread failed while this one waited for it. */
export class OtherThreadFailed extends Error {}

function waitUntil(
  words: Int32Array,
  word: number,
  done: (value: number) => boolean,
  spins: number,
): void {
  for (let i = 0; i < spins; i++) {
    if (done(Atomics.load(words, word))) return;
  }
  while (true) {
    const value = Atomics.load(words, word);
    if (done(value)) return;
    if (Atomics.load(words, WORDS.failed) !== 0) throw new OtherThreadFailed();
    Atomics.wait(words, word, value, 100);
  }
}

/** Waits until all threads have arrived `times` times since the run began. */
export function barrier(words: Int32Array, threads: number, times: number): void {
  const target = threads * times;
  if (Atomics.add(words, WORDS.arrived, 1) + 1 === target) {
    Atomics.notify(words, WORDS.arrived);
    return;
  }
  waitUntil(words, WORDS.arrived, (value) => value >= target, BARRIER_SPINS);
}

/** Waits for a command other than the last one; returns its number. */
export function nextCommand(words: Int32Array, last: number): number {
  for (let i = 0; i < COMMAND_SPINS; i++) {
    const value = Atomics.load(words, WORDS.sequence);
    if (value !== last) return value;
  }
  while (true) {
    const value = Atomics.load(words, WORDS.sequence);
    if (value !== last) return value;
    Atomics.wait(words, WORDS.sequence, value);
  }
}

/** Tells the main thread that a worker is done. */
export function finish(words: Int32Array): void {
  Atomics.add(words, WORDS.finished, 1);
  Atomics.notify(words, WORDS.finished);
}

/** Waits until all workers are done. */
export function waitForWorkers(words: Int32Array, workers: number): void {
  waitUntil(words, WORDS.finished, (value) => value >= workers, BARRIER_SPINS);
}

/** Issues a command to the workers. */
export function issue(
  words: Int32Array,
  command: number,
  text: { readonly address: number; readonly bytes: number },
): void {
  Atomics.store(words, WORDS.command, command);
  Atomics.store(words, WORDS.textLine, text.address / ALIGNMENT);
  Atomics.store(words, WORDS.textBytes, text.bytes);
  Atomics.store(words, WORDS.finished, 0);
  Atomics.store(words, WORDS.arrived, 0);
  Atomics.add(words, WORDS.sequence, 1);
  Atomics.notify(words, WORDS.sequence);
}
