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
  /** Threads that sleep until others arrive: machine code wakes nobody. */
  sleepers: 7,
  /** The program that is to run, and its launches. */
  program: 8,
  launches: 9,
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

/**
 * Looks at a word before a thread goes to sleep, each after a pause of the processor: long enough for
 * a kernel, short for a person.
 */
const BARRIER_SPINS = 2000;
const COMMAND_SPINS = 20000;

/** Leaves the core to its other thread for a moment; TypeScript's library does not have it yet. */
const { pause } = Atomics as unknown as { pause(): void };

/** Another thread failed while this one waited for it. */
export class OtherThreadFailed extends Error {}

/** Whether a word comes to what is waited for while one looks. */
function spin(words: Int32Array, word: number, done: (value: number) => boolean): boolean {
  for (let i = 0; i < BARRIER_SPINS; i++) {
    if (done(Atomics.load(words, word))) return true;
    pause();
  }
  return false;
}

function sleep(words: Int32Array, word: number, done: (value: number) => boolean): void {
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
    notifyArrivals(words);
    return;
  }
  waitForArrivals(words, target);
}

/** Waits until so many threads have arrived since the run began. */
export function waitForArrivals(words: Int32Array, target: number): void {
  const done = (value: number) => value >= target;
  if (spin(words, WORDS.arrived, done)) return;
  Atomics.add(words, WORDS.sleepers, 1);
  try {
    sleep(words, WORDS.arrived, done);
  } finally {
    Atomics.sub(words, WORDS.sleepers, 1);
  }
}

/** Wakes the threads that wait for arrivals. */
export function notifyArrivals(words: Int32Array): void {
  Atomics.notify(words, WORDS.arrived);
}

/** Waits for a command other than the last one; returns its number. */
export function nextCommand(words: Int32Array, last: number): number {
  for (let i = 0; i < COMMAND_SPINS; i++) {
    const value = Atomics.load(words, WORDS.sequence);
    if (value !== last) return value;
    pause();
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
  const done = (value: number) => value >= workers;
  if (!spin(words, WORDS.finished, done)) sleep(words, WORDS.finished, done);
}

/** What a command is about: a text in device memory, or a program and its launches. */
export type CommandSubject =
  | { readonly address: number; readonly bytes: number }
  | { readonly program: number; readonly launches: number };

/** Issues a command to the workers. */
export function issue(words: Int32Array, command: number, subject: CommandSubject): void {
  Atomics.store(words, WORDS.command, command);
  if ("program" in subject) {
    Atomics.store(words, WORDS.program, subject.program);
    Atomics.store(words, WORDS.launches, subject.launches);
  } else {
    Atomics.store(words, WORDS.textLine, subject.address / ALIGNMENT);
    Atomics.store(words, WORDS.textBytes, subject.bytes);
  }
  Atomics.store(words, WORDS.finished, 0);
  Atomics.store(words, WORDS.arrived, 0);
  Atomics.add(words, WORDS.sequence, 1);
  Atomics.notify(words, WORDS.sequence);
}
