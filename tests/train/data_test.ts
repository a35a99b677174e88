import { assert, assertEquals, assertThrows } from "@std/assert";
import { batchReader, joinStreams, splitTokens, type TokenStream } from "../../train/data.ts";
import { random } from "../support/random.ts";

/** The stream 0, 1, 2, …, and which of its tokens were read. */
function counting(length: number, from = 0): TokenStream & { readonly seen: Set<number> } {
  const seen = new Set<number>();
  return {
    length,
    seen,
    read: (start, count) => {
      assert(start >= 0 && count >= 0 && start + count <= length, `${start} + ${count}`);
      return Int32Array.from({ length: count }, (_, i) => {
        seen.add(start + i);
        return from + start + i;
      });
    },
  };
}

const all = (stream: TokenStream) => [...stream.read(0, stream.length)];

Deno.test("split: the two parts are the whole, and nothing is in both", () => {
  for (const length of [1, 2, 31, 32, 33, 1000, 12345]) {
    for (const fraction of [0.5, 0.1, 0.02]) {
      const { train, heldOut } = splitTokens(counting(length), fraction);
      const both = [...all(train), ...all(heldOut)].sort((a, b) => a - b);
      assertEquals(both, Array.from({ length }, (_, i) => i));
      assert(Math.abs(heldOut.length - fraction * length) <= 16, "a token a span at most");
    }
  }
});

Deno.test("split: held-out text comes from all over the corpus", () => {
  const { heldOut } = splitTokens(counting(32000), 0.02);
  const spans = new Set(all(heldOut).map((token) => Math.floor(token / 1000)));
  assertEquals(spans.size, 32);
});

Deno.test("split: parts are read anywhere, across their pieces", () => {
  const { train } = splitTokens(counting(3200), 0.25);
  const whole = all(train);
  const { below } = random(1);
  for (let i = 0; i < 200; i++) {
    const start = below(whole.length);
    const count = below(whole.length - start + 1);
    assertEquals([...train.read(start, count)], whole.slice(start, start + count));
  }
  for (const [start, count] of [[-1, 2], [0, whole.length + 1], [whole.length, 1], [0, NaN]]) {
    assertThrows(() => train.read(start, count), RangeError, "tokens: ");
  }
});

Deno.test("split: training reads no held-out token", () => {
  const stream = counting(5000);
  const { train, heldOut } = splitTokens(stream, 0.1);
  const batchAt = batchReader(train, 32, 4);
  for (let sample = 1; sample < 1000; sample += 4) batchAt(sample);
  const seen = new Set(stream.seen);
  assert(seen.size > 0.9 * train.length);
  assertEquals(all(heldOut).filter((token) => seen.has(token)), []);
});

Deno.test("batches: ids and, one on, targets; samples in the order of the walk", () => {
  const batchAt = batchReader(counting(16 * 11 + 1), 16, 3);
  const { ids, targets } = batchAt(1);
  assertEquals(ids.length, 48);
  assertEquals([...targets], [...ids].map((id) => id + 1));
  assert([0, 16, 32].every((row) => ids[row] % 16 === 0), "samples start at slots");
  // Prime 11, factor 6: 6·i³ mod 11.
  const slots = [1, 2, 3].map((i) => 6 * i ** 3 % 11);
  assertEquals([ids[0], ids[16], ids[32]], slots.map((slot) => 16 * slot));
  assertEquals(batchAt(2).ids.subarray(0, 32), ids.subarray(16, 48), "sample by sample");
});

Deno.test("batches: the last slot has a token after it", () => {
  for (const length of [17, 32, 33, 48]) {
    const batchAt = batchReader(counting(length), 16, 1);
    for (let sample = 1; sample < 20; sample++) {
      assert(batchAt(sample).targets.every((token) => token < length));
    }
  }
});

Deno.test("joined streams are read as one", () => {
  const parts = [counting(5), counting(0, 5), counting(7, 5), counting(1, 12), counting(0, 13)];
  const joined = joinStreams(parts);
  assertEquals(joined.length, 13);
  for (let start = 0; start <= 13; start++) {
    for (let count = 0; start + count <= 13; count++) {
      const expected = Array.from({ length: count }, (_, i) => start + i);
      assertEquals([...joined.read(start, count)], expected);
    }
  }
  assertThrows(() => joined.read(10, 4), RangeError, "tokens: 10 … 13 of 13");
});
