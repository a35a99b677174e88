import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import * as g from "../../../graph/build.ts";
import { assertCases, runCase, TOLERANCE } from "../../support/device_case.ts";
import { eachCpuTest, withCpu } from "../../support/devices.ts";
import { testPrograms } from "../../support/device_programs.ts";
import { type OpCase, opCase, real, withGradients } from "../../support/op_case.ts";
import { gradientCases, opCases } from "../../support/op_cases.ts";
import { randomGraph } from "../../support/random_graph.ts";

/** Head widths have kernels where vectors divide them; the reference has all. */
const hasKernel = ({ name }: OpCase) => !/^attention \[.*, (10|42)\]/.test(name);

eachCpuTest("every operation is what the reference says", async (native) => {
  await withCpu({ threads: 2, native }, (device) => assertCases(device, opCases.filter(hasKernel)));
});

eachCpuTest("gradients of every operation are what the reference says", async (native) => {
  await withCpu(
    { threads: 2, native },
    (device) => assertCases(device, gradientCases.filter(hasKernel)),
  );
});

eachCpuTest("random graphs, fused and scheduled, are what the reference says", async (native) => {
  const seeds = Array.from({ length: 100 }, (_, seed) => seed);
  const graphs = seeds.map((seed) => randomGraph(seed, { steps: 12 + seed % 30 }));
  const smooth = seeds.map((seed) =>
    withGradients(randomGraph(seed, { steps: 12 + seed % 30, smooth: true }))
  );
  // Forty steps, one after another, add up what each of them rounds.
  const tolerance = 5 * TOLERANCE;
  await withCpu(
    { threads: 2, native },
    (device) => assertCases(device, [...graphs, ...smooth], tolerance),
  );
});

for (const [bytes, memory] of [[2 ** 31, undefined], [5 * 2 ** 30, 2 ** 33]] as const) {
  eachCpuTest(`memory beyond ${bytes / 2 ** 30} GiB is as good as any`, async (native) => {
    await withCpu({ threads: 2, memory, native }, async (device) => {
      // Never touched, so the system gives no pages for it.
      device.allocate(bytes);
      await assertCases(device, [...opCases, ...gradientCases].filter(hasKernel));
      // Programs that all threads work on, in an arena that lies there as well.
      const [m, k, n] = [300, 280, 260];
      const shapes = { a: real([m, k]), b: real([k, n]), c: real([m, 1]) };
      const large = opCase("large", shapes, ({ a, b, c }) => [g.mul(g.matmul(a, b), c)]);
      await assertCases(device, [withGradients(large)]);
    });
  });
}

eachCpuTest("the same bits with 1, 2 and 3 threads, and with 64-bit addresses", async (native) => {
  const some = [...opCases, ...gradientCases].filter(hasKernel).filter((_, i) => i % 4 === 0);
  const graphs = Array.from({ length: 20 }, (_, seed) => randomGraph(1000 + seed));
  const all: Float32Array[][][] = [];
  for (const [threads, memory] of [[1, 0], [2, 0], [3, 0], [2, 2 ** 33]]) {
    all.push(
      await withCpu({ threads, memory, native }, async (device) => {
        const results: Float32Array[][] = [];
        for (const each of [...some, ...graphs]) results.push(await runCase(device, each));
        return results;
      }),
    );
  }
  const [one, ...others] = all.map((results) => results.map((own) => own.map(bits)));
  others.forEach((other) => assertEquals(other, one));
});

const bits = (data: Float32Array) =>
  new Uint32Array(data.buffer, data.byteOffset, data.length).join();

Deno.test("cpu: a head width that no vector divides is an error", async () => {
  const narrow = opCases.filter((each) => !hasKernel(each));
  assert(narrow.length > 0);
  await withCpu({ threads: 1 }, async (device) => {
    for (const each of narrow) {
      const { message } = await assertRejects(() => runCase(device, each), Error);
      assertMatch(message, /expected a width of a multiple of 4 and .*, found (10|42), /);
    }
  });
});

// Three matrices are more than 4 GiB, and each less than the 2 GiB that kernels reach of one.
testPrograms("cpu", (run) => withCpu({ threads: 2 }, run), [8, 300, 64], 18_944);

Deno.test("cpu: memory that grows while threads work is seen by all of them", async () => {
  await withCpu({ threads: 3 }, async (device) => {
    const n = 1 << 20;
    const x = g.input("x", [n]);
    let last = device.allocate(4 * n);
    device.write(last, new Float32Array(n).fill(1));
    for (let i = 0; i < 8; i++) {
      // Each result needs memory that was not there when the threads started.
      const next = device.allocate(4 * n);
      const executable = device.compile([g.mul(x, 2)], { inputs: { x: last }, results: [next] });
      executable.run();
      executable.free();
      last = next;
    }
    const found = new Float32Array(n);
    await device.read(last, found);
    assert(found.every((value) => value === 256));
  });
});

Deno.test("cpu: a profile has every launch, and its work", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const [a, b] = [g.input("a", [64, 96]), g.input("b", [96, 32])];
    const inputs = { a: device.allocate(4 * 64 * 96), b: device.allocate(4 * 96 * 32) };
    const results = [device.allocate(4 * 64 * 32)];
    const executable = device.compile([g.matmul(a, b)], { inputs, results });
    const rows = await executable.profile();
    assertEquals(rows.map(({ label, launches, flops }) => ({ label, launches, flops })), [
      { label: "matmul [64, 32]", launches: 1, flops: 2 * 64 * 96 * 32 },
    ]);
    assertEquals(executable.flops, 2 * 64 * 96 * 32);
    assert(rows[0].seconds > 0);
  });
});
