import { assertEquals, assertThrows } from "@std/assert";
import {
  barrier,
  COMMANDS,
  issue,
  nextCommand,
  OtherThreadFailed,
  waitForWorkers,
  WORDS,
} from "../../../devices/cpu/control.ts";

const makeWords = () => new Int32Array(new SharedArrayBuffer(4 * WORDS.count));

/** A thread of its own that meets this one at barriers, and counts how often. */
function barrierThread(words: Int32Array, times: number): Worker {
  const control = new URL("../../../devices/cpu/control.ts", import.meta.url).href;
  const source = `
    import { barrier, finish } from ${JSON.stringify(control)};
    self.onmessage = ({ data: { words, shared, times } }) => {
      for (let i = 1; i <= times; i++) {
        Atomics.add(shared, 0, 1);
        barrier(words, 2, i);
      }
      finish(words);
    };`;
  const worker = new Worker(`data:text/javascript,${encodeURIComponent(source)}`, {
    type: "module",
  });
  worker.postMessage({ words, shared: words.subarray(WORDS.count - 1), times });
  return worker;
}

Deno.test("barrier: nobody passes before everyone has arrived", async () => {
  const words = makeWords();
  const times = 300;
  const worker = barrierThread(words, times);
  // The thread has to load its code before this one may block.
  while (Atomics.load(words, WORDS.count - 1) === 0) await new Promise((r) => setTimeout(r, 1));
  for (let i = 1; i <= times; i++) {
    barrier(words, 2, i);
    // The other has counted this round, and may have begun the next.
    const count = Atomics.load(words, WORDS.count - 1);
    assertEquals(count === i || count === i + 1, true, `round ${i}: ${count}`);
  }
  waitForWorkers(words, 1);
  assertEquals(Atomics.load(words, WORDS.arrived), 2 * times);
  worker.terminate();
});

Deno.test("barrier: a thread that waits for one that failed stops waiting", () => {
  const words = makeWords();
  Atomics.store(words, WORDS.failed, 1);
  assertThrows(() => barrier(words, 2, 1), OtherThreadFailed);
  assertThrows(() => waitForWorkers(words, 1), OtherThreadFailed);
});

Deno.test("commands: a new one is seen, with its text, and starts a new count", () => {
  const words = makeWords();
  Atomics.store(words, WORDS.finished, 3);
  Atomics.store(words, WORDS.arrived, 5);
  issue(words, COMMANDS.run, { address: 640, bytes: 12 });
  const sequence = nextCommand(words, 0);
  assertEquals(sequence, 1);
  assertEquals(
    [WORDS.command, WORDS.textLine, WORDS.textBytes, WORDS.finished, WORDS.arrived].map((w) =>
      Atomics.load(words, w)
    ),
    [COMMANDS.run, 10, 12, 0, 0],
  );
  issue(words, COMMANDS.exit, { address: 0, bytes: 0 });
  assertEquals(nextCommand(words, sequence), 2);
});
