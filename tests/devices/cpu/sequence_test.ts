import { assertEquals, assertThrows } from "@std/assert";
import { OtherThreadFailed, WORDS } from "../../../devices/cpu/control.ts";
import { addressOf, findNative, loadCode, openCalls } from "../../../devices/cpu/native.ts";
import {
  createSequence,
  sequenceCode,
  type SequenceLaunch,
} from "../../../devices/cpu/sequence.ts";

/**
 * A kernel that adds the items of its range to what its operand points to, by `lock add`:
 * mov eax, [rsi+4]; sub eax, [rsi]; mov rcx, [rdi]; lock add [rcx], eax; xor eax, eax; ret.
 */
const COUNT = "8b4604" + "2b06" + "488b0f" + "f00101" + "31c0" + "c3";
/** One that adds 1: mov rcx, [rdi]; lock inc dword [rcx]; xor eax, eax; ret. */
const ONCE = "488b0f" + "f0ff01" + "31c0" + "c3";

const codeOf = (text: string) => Uint8Array.from(text.match(/../g)!, (byte) => parseInt(byte, 16));

/** Runs a test with the sequence of one of so many threads. */
async function withSequence(
  threads: number,
  launchesOf: (
    codes: { readonly count: number; readonly once: number },
    at: (word: number) => bigint,
  ) => readonly SequenceLaunch[],
  run: (
    sequence: ReturnType<typeof createSequence>,
    memory: Int32Array,
    words: Int32Array,
  ) => void | Promise<void>,
): Promise<void> {
  const memory = new Int32Array(new SharedArrayBuffer(64));
  const words = new Int32Array(new SharedArrayBuffer(4 * WORDS.count));
  const base = addressOf(memory.buffer);
  const loaded = loadCode([sequenceCode(), codeOf(COUNT), codeOf(ONCE)]);
  const [play, count, once] = loaded.addresses;
  const calls = openCalls(0n);
  const launches = launchesOf({ count, once }, (word) => base + BigInt(4 * word));
  await run(createSequence(calls, play, launches, { words, threads }), memory, words);
  calls.close();
  loaded.free();
}

const launch = (code: number, operand: bigint): SequenceLaunch => ({
  ...{ code, prepare: 0, prepared: 0, operands: [operand], items: 10, grain: 4 },
  ...{ first: 0, from: 0, waits: false },
});

/** The last of the shared words, with which the other thread says how far it is. */
const PROGRESS = WORDS.count - 1;

async function untilWord(words: Int32Array, word: number, value: number): Promise<void> {
  while (Atomics.load(words, word) !== value) await new Promise((r) => setTimeout(r, 1));
}

/** A thread that goes to a barrier of JavaScript, some milliseconds after it has started. */
async function otherThread(words: Int32Array, late: number): Promise<Worker> {
  const control = new URL("../../../devices/cpu/control.ts", import.meta.url).href;
  const source = `
    import { barrier } from ${JSON.stringify(control)};
    self.onmessage = ({ data: { words, late } }) => {
      Atomics.store(words, ${PROGRESS}, 1);
      Atomics.wait(words, ${PROGRESS}, 1, late);
      barrier(words, 2, 1);
      Atomics.store(words, ${PROGRESS}, 2);
    };`;
  const worker = new Worker(`data:text/javascript,${encodeURIComponent(source)}`, {
    type: "module",
  });
  worker.postMessage({ words, late });
  await untilWord(words, PROGRESS, 1);
  return worker;
}

if (findNative() !== undefined) {
  Deno.test("sequence: pieces are taken until there are no more, a first one without asking", async () => {
    await withSequence(1, ({ count, once }, at) => [
      // Items 0 … 9 whole; of 10, pieces from the word on; a first piece of four, the rest by the word.
      { ...launch(count, at(0)), grain: 10 },
      { ...launch(count, at(1)), counter: at(8), first: -1 },
      { ...launch(count, at(2)), counter: at(9), first: 4, from: 8 },
      // No part in it; calls by pieces.
      { ...launch(0, at(3)) },
      { ...launch(once, at(4)), counter: at(10), first: -1 },
    ], (sequence, memory) => {
      assertEquals(sequence.play(0, 5, 7), 7);
      assertEquals([...memory.subarray(0, 5)], [10, 10, 6, 0, 3]);
      memory.fill(0);
      sequence.playOne(1);
      assertEquals([...memory.subarray(0, 5)], [0, 10, 0, 0, 0]);
    });
  });

  Deno.test("sequence: what is prepared is prepared once for the same content", async () => {
    await withSequence(1, ({ count, once }, at) => {
      const pieces = { ...launch(count, at(0)), first: -1, prepare: once };
      return [
        { ...pieces, counter: at(8), prepared: 1 },
        { ...pieces, counter: at(9), prepared: 1 },
        { ...pieces, counter: at(10), prepared: 2 },
      ];
    }, (sequence, memory) => {
      sequence.play(0, 3, 0);
      assertEquals(memory[0], 30 + 2);
    });
  });

  const meeting = ({ count }: { readonly count: number }, at: (word: number) => bigint) => [
    { ...launch(count, at(0)), grain: 10 },
    { ...launch(count, at(0)), grain: 10, waits: true, ahead: { begin: at(0), end: at(16) } },
    { ...launch(count, at(0)), grain: 10 },
  ];

  for (const late of [0, 100]) {
    Deno.test(`sequence: a thread that is ${late} ms late is waited for`, async () => {
      await withSequence(2, meeting, async (sequence, memory, words) => {
        const worker = await otherThread(words, late);
        assertEquals(sequence.play(0, 3, 0), 1);
        assertEquals([memory[0], words[WORDS.arrived]], [30, 2]);
        await untilWord(words, PROGRESS, 2);
        worker.terminate();
      });
    });
  }

  Deno.test("sequence: a thread that sleeps is woken by the last to arrive", async () => {
    await withSequence(2, meeting, async (sequence, memory, words) => {
      const worker = await otherThread(words, 0);
      await untilWord(words, WORDS.sleepers, 1);
      assertEquals(sequence.play(0, 3, 0), 1);
      assertEquals(memory[0], 30);
      await untilWord(words, PROGRESS, 2);
      assertEquals(words[WORDS.sleepers], 0);
      worker.terminate();
    });
  });

  Deno.test("sequence: a thread that waits for one that failed stops waiting", async () => {
    await withSequence(2, meeting, (sequence, _, words) => {
      Atomics.store(words, WORDS.failed, 1);
      assertThrows(() => sequence.play(0, 3, 0), OtherThreadFailed);
    });
  });
}
