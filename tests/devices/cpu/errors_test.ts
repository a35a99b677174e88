import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { CpuMemory } from "../../../devices/cpu/memory.ts";
import type { Device } from "../../../devices/device.ts";
import { openDevice } from "../../../devices/open.ts";
import * as g from "../../../graph/build.ts";
import { withCpu } from "../../support/devices.ts";

const message = (run: () => unknown) => assertThrows(run, Error).message;

Deno.test("cpu: bindings that do not fit are all named", async () => {
  await withCpu({ threads: 1 }, (device) => {
    const sum = g.add(g.input("a", [2, 3]), g.input("b", [3]));
    const [a, y] = [device.allocate(4 * 5), device.allocate(4 * 7)];
    const executable = device.compile([sum], { inputs: { a }, results: [y] });
    // A program that was not bound is not run the next time either.
    for (let run = 0; run < 2; run++) {
      assertEquals(
        message(() => executable.run()),
        "cpu: bindings: input a: 20 bytes, expected 24; input b [3] has no memory; " +
          "result 0: 28 bytes, expected 24",
      );
    }
    executable.free();
  });
});

Deno.test("cpu: caches that are extended in place must be bound to their own memory", async () => {
  await withCpu({ threads: 1 }, (device) => {
    const [token, cache] = [[1, 1, 1, 8], [1, 1, 4, 8]];
    const [q, k, v] = ["q", "k", "v"].map((name) => g.input(name, token));
    const [keys, values] = ["keys", "values"].map((name) => g.input(name, cache));
    const start = g.input("start", [1], "i32");
    const extended = g.cachedAttention(q, k, v, keys, values, start, 1);
    const room = (floats: number) => device.allocate(4 * floats);
    const inputs = {
      ...{ q: room(8), k: room(8), v: room(8), start: room(1) },
      ...{ keys: room(32), values: room(32) },
    };
    const results = [room(8), inputs.keys, room(32)];
    const outputs = [extended.output, extended.keys, extended.values];
    const executable = device.compile(outputs, { inputs, results });
    assertEquals(
      message(() => executable.run()),
      "cpu: bindings: result 2: expected the memory of values, which it is written through",
    );
  });
});

Deno.test("cpu: memory is not left", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    const memory = device.allocate(40);
    assertEquals(message(() => memory.slice(8, 36)), "memory: 36 bytes at 8 of 40");
    assertEquals(message(() => memory.slice(-4, 4)), "memory: 4 bytes at -4 of 40");
    assertEquals(
      message(() => device.write(memory, new Float32Array(11))),
      "memory: 44 bytes into 40",
    );
    await assertRejects(
      async () => await device.read(memory.slice(8, 4), new Int32Array(2)),
      RangeError,
      "memory: 8 bytes from 4",
    );
    device.write(memory, Float32Array.from({ length: 10 }, (_, i) => i));
    const middle = new Float32Array(2);
    await device.read(memory.slice(8, 16).slice(4, 8), middle);
    assertEquals(middle, Float32Array.of(3, 4));
    device.clear(memory.slice(12, 4));
    await device.read(memory.slice(8, 8), middle);
    assertEquals(middle, Float32Array.of(2, 0));
  });
});

Deno.test("cpu: out of memory says how much was wanted and what needs less", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const first = device.allocate(2 ** 20);
    const error = assertThrows(() => device.allocate(2 ** 32), RangeError);
    const parts =
      /^cpu: out of memory: (\d+) bytes .* wanted, (\d+) .* in use, 4 GiB is the most \(.*\); /;
    const [, wanted, used] = parts.exec(error.message)!;
    assertEquals(wanted, `${2 ** 32}`);
    assert(Number(used) >= 2 ** 20);
    assert(error.message.endsWith("a teacher in bf16 or --weights in fewer bits need less"));
    // The device goes on.
    device.free(first);
    const x = device.allocate(4);
    device.compile([g.add(g.constant(1), 1)], { inputs: {}, results: [x] }).run();
    const found = new Float32Array(1);
    await device.read(x, found);
    assertEquals(found[0], 2);
  });
});

Deno.test("cpu: memory is freed once", async () => {
  await withCpu({ threads: 1 }, (device) => {
    const memory = device.allocate(8);
    device.free(memory);
    assert(message(() => device.free(memory)).startsWith("cpu: nothing was allocated at "));
  });
});

/** Has a kernel read beyond the end of all memory, as a bug in one could. */
function runAstray(device: Device, elements: number): { ran: () => void; free: () => void } {
  const x = g.input("x", [64, elements / 64]);
  const graph = g.mul(g.exp(x), g.sum(g.exp(x), [0]));
  const end = 2 ** 32 - 2 ** 16;
  const astray = { bytes: 4 * elements, address: end - 4 * Math.floor(elements / 2) };
  const executable = device.compile([graph], {
    inputs: { x: astray as unknown as CpuMemory },
    results: [device.allocate(4 * elements)],
  });
  return { ran: () => executable.run(), free: () => executable.free() };
}

// The smaller program is run by one thread alone, the larger one by all.
for (const [threads, elements] of [[1, 1 << 16], [2, 1 << 16], [2, 1 << 21], [3, 1 << 21]]) {
  const name = `threads ${threads}, elements ${elements}`;
  Deno.test(`cpu: a failure ends all work and hides nothing, ${name}`, async () => {
    // WebAssembly sees what leaves the memory; machine code is the same but for that.
    await withCpu({ threads, native: "none" }, (device) => {
      const y = device.allocate(4);
      const other = device.compile([g.add(g.constant(1), 1)], { inputs: {}, results: [y] });
      other.run();
      const { ran, free } = runAstray(device, elements);
      const first = message(ran);
      assert(/memory access out of bounds|a worker thread failed/.test(first), first);
      assertEquals(
        message(() => other.run()),
        "cpu: a thread failed before: nothing more runs on this device",
      );
      // Neither throws, so that the first error is the one that is seen; nor does closing.
      free();
      other.free();
    });
  });
}

Deno.test("cpu: a BLAS that is not there is an error before anything starts", async () => {
  const { message } = await assertRejects(
    () => openDevice("cpu", { blas: "/nowhere/libblas.so" }),
    Error,
  );
  assert(message.includes("/nowhere/libblas.so"));
});

Deno.test("cpu: a tensor beyond what kernels reach is an error that says so", async () => {
  await withCpu({ threads: 1, memory: 2 ** 33 }, (device) => {
    // Never touched, so the system gives no pages for it.
    const [x, y] = [device.allocate(2 ** 31), device.allocate(4)];
    const graph = g.sum(g.input("x", [2 ** 29]), [0]);
    const found = message(() => device.compile([graph], { inputs: { x }, results: [y] }));
    assert(
      /^cpu: .*: a tensor of 2147483648 bytes, kernels reach 2 GiB of one; /.test(found),
      found,
    );
  });
});
