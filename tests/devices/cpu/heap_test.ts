import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { createHeap } from "../../../devices/cpu/heap.ts";
import { createMemory, type SharedMemory } from "../../../devices/cpu/memory.ts";
import { random } from "../../support/random.ts";

const PAGE = 65536;
const memory = (pages: number): SharedMemory => ({
  memory: new WebAssembly.Memory({ initial: pages, maximum: 65536, shared: true }),
  addresses: "i32",
});

Deno.test("heap: addresses are multiples of 64 and never 0", () => {
  const heap = createHeap(memory(1));
  const addresses = [1, 64, 65, 3, 0].map(heap.allocate);
  assertEquals(addresses, [64, 128, 192, 320, 384]);
});

Deno.test("heap: what was freed is used again, first fit", () => {
  const heap = createHeap(memory(1));
  const [a, b, c, d] = [100, 200, 100, 100].map(heap.allocate);
  heap.free(b);
  assertEquals(heap.allocate(256), b, "the gap that fits exactly");
  heap.free(a);
  heap.free(c);
  assertEquals(heap.allocate(129), d + 128, "no gap is large enough");
  assertEquals(heap.allocate(128), a);
  assertEquals(heap.allocate(128), c);
});

Deno.test("heap: neighbouring gaps become one, in whatever order they are freed", () => {
  for (const order of [[0, 1, 2], [2, 1, 0], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1]]) {
    const heap = createHeap(memory(1));
    const pieces = [64, 128, 192].map(heap.allocate);
    heap.allocate(64);
    order.forEach((i) => heap.free(pieces[i]));
    assertEquals(heap.allocate(384), pieces[0]);
  }
});

Deno.test("heap: it grows by what is missing after the last gap", () => {
  const own = memory(2);
  const heap = createHeap(own);
  heap.allocate(PAGE);
  const large = heap.allocate(3 * PAGE);
  assertEquals(large, 64 + PAGE);
  assertEquals(own.memory.buffer.byteLength, 5 * PAGE, "64 bytes into the fifth page");
  heap.free(large);
  assertEquals(heap.allocate(4 * PAGE - 64), large, "the new pages joined the old gap");
  assertEquals(own.memory.buffer.byteLength, 5 * PAGE);
});

Deno.test("heap: more than 4 GiB is refused and changes nothing", () => {
  const own = memory(1);
  const heap = createHeap(own);
  assertThrows(() => heap.allocate(2 ** 32), RangeError, "out of memory");
  assertEquals(own.memory.buffer.byteLength, PAGE);
  assertEquals(heap.allocate(8), 64);
});

Deno.test("heap: a memory with 64-bit addresses ends at 16 GiB", () => {
  // Pages that nobody touches take no memory of the machine.
  const heap = createHeap(createMemory("i64"));
  const first = heap.allocate(10 * 2 ** 30);
  const second = heap.allocate(5 * 2 ** 30);
  assertEquals(second, first + 10 * 2 ** 30);
  const { message } = assertThrows(() => heap.allocate(2 ** 30), RangeError);
  assertMatch(
    message,
    /^cpu: out of memory: 1073741824 bytes \(1\.00 GiB\) wanted, 16106127360 \(15\.00 GiB\) in use, 16 GiB is the most;/,
  );
  heap.free(first);
  assertEquals(heap.allocate(2 ** 30), first);
  assertEquals(heap.use(), { inUse: 6 * 2 ** 30, peak: 15 * 2 ** 30 });
});

Deno.test("heap: the most bytes that were in use at once", () => {
  const heap = createHeap(memory(1));
  assertEquals(heap.use(), { inUse: 0, peak: 0 });
  const [a, b] = [100, 200].map(heap.allocate);
  heap.free(a);
  heap.allocate(64);
  assertEquals(heap.use(), { inUse: 320, peak: 384 }, "in steps of 64");
  heap.free(b);
  heap.allocate(512);
  assertEquals(heap.use(), { inUse: 64 + 512, peak: 64 + 512 });
});

Deno.test("heap: only what was allocated can be freed", () => {
  const heap = createHeap(memory(1));
  const address = heap.allocate(64);
  assertThrows(() => heap.free(address + 64), Error, `nothing was allocated at ${address + 64}`);
  heap.free(address);
  assertThrows(() => heap.free(address), Error, `nothing was allocated at ${address}`);
});

Deno.test("heap: random use never hands out a byte twice", () => {
  const own = memory(1);
  const heap = createHeap(own);
  const source = random(7);
  const live = new Map<number, number>();
  for (let step = 0; step < 5000; step++) {
    if (live.size > 0 && source.below(5) < 2) {
      const address = source.pick([...live.keys()]);
      live.delete(address);
      heap.free(address);
      continue;
    }
    const bytes = 1 + source.below(source.below(10) === 0 ? 20000 : 500);
    const address = heap.allocate(bytes);
    assert(address % 64 === 0 && address + bytes <= own.memory.buffer.byteLength);
    for (const [other, size] of live) {
      assert(address + bytes <= other || other + size <= address, `step ${step}: they overlap`);
    }
    live.set(address, bytes);
  }
  live.forEach((_, address) => heap.free(address));
  const all = own.memory.buffer.byteLength - 64;
  assertEquals(heap.allocate(all), 64, "everything is one gap again");
});
