/** What both GPU devices do as the CPU does: sessions, stored weights, reports, memory. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Compiled } from "../../devices/compile.ts";
import { openCuda } from "../../devices/cuda/device.ts";
import type { Device } from "../../devices/device.ts";
import { profiled, type WorkProfile } from "../../devices/profiled.ts";
import { openWebgpu } from "../../devices/webgpu/device.ts";
import * as g from "../../graph/build.ts";
import { inspectCheckpoint, loadCheckpoint, type LoadedCheckpoint } from "../../infer/loading.ts";
import { openSession } from "../../infer/session.ts";
import { storedAs, WEIGHT_FORMATS } from "../../infer/weights.ts";
import { decodeWeights, encodeWeights } from "../../kernels/weights/weights.ts";
import { modelParameters } from "../../models/decoder.ts";
import { loadTeacher } from "../../train/teacher.ts";
import { assertClose } from "../support/compare.ts";
import { cudaEmulator } from "../support/cuda.ts";
import { assertCases, TOLERANCE } from "../support/device_case.ts";
import { withCpu, withCuda, withWebgpu } from "../support/devices.ts";
import { ids, type OpCase, opCase, real, withGradients } from "../support/op_case.ts";
import { ATTENTION, radRwkv6, radRwkv7, randomModel } from "../support/model.ts";

const GPUS = { webgpu: withWebgpu, cuda: withCuda } as const;

/** Logits of a text that comes in parts, so that every state is read and written in place. */
async function decoded(device: Device): Promise<Float32Array[]> {
  const model = randomModel(device, [radRwkv6(), radRwkv7(), ATTENTION]);
  const session = openSession(model);
  const rows: Float32Array[] = [];
  for (const part of [[3, 1, 4], [1], [5]]) rows.push(await session.advance([part]));
  session.free();
  model.free();
  return rows;
}

/** Products by tiles of every size and in parts, many rows summed, and a table's rows often used. */
const LARGE: readonly OpCase[] = [
  ...([
    ["128 × 128 tiles", [1027, 1028, 20], false, true],
    ["128 × 128 tiles", [900, 1028, 12], true, false],
    ["tiles of two sizes", [1000, 300, 40], false, false],
    ["parts", [64, 68, 1030], true, true],
    ["parts", [60, 30, 1036], true, false],
  ] as const).map(([what, [m, n, k], transposeA, transposeB]) =>
    opCase(
      `${what} ${m}×${n}×${k}`,
      { a: real(transposeA ? [k, m] : [m, k]), b: real(transposeB ? [n, k] : [k, n]) },
      ({ a, b }) => g.matmul(a, b, { transposeA, transposeB }),
    )
  ),
  ...([[1000, 200, 40], [40, 20, 1000]] as const).map(([m, n, k]) =>
    opCase(
      `with an epilogue ${m}×${n}×${k}`,
      { a: real([m, k]), b: real([n, k]), c: real([n]), d: real([m, n]) },
      ({ a, b, c, d }) =>
        g.mul(g.tanh(g.add(g.matmul(a, b, { transposeB: true }), c)), g.add(d, c)),
    )
  ),
  opCase("rows in blocks", { a: real([3000, 100]) }, ({ a }) => g.sum(g.mul(a, a), [0])),
  opCase("rows in blocks, few columns", { a: real([3, 700, 5]) }, ({ a }) => g.sum(a, [1])),
  opCase("few rows", { a: real([200, 3, 50]) }, ({ a }) => g.sum(g.mul(a, a), [1])),
  withGradients(
    opCase(
      "rows of a small table",
      { table: real([5, 300]), at: ids([2, 1300], 3) },
      ({ table, at }) => g.embedding(table, at),
    ),
  ),
];

for (const [name, withGpu] of Object.entries(GPUS)) {
  Deno.test(`${name}: large products and sums are what the reference says`, async () => {
    // Sums of a thousand terms and more, some of them in a function that is steep where they are.
    await withGpu((device) => assertCases(device, LARGE, 3 * TOLERANCE));
  });

  Deno.test(`${name}: operands of products may begin anywhere`, async () => {
    await withGpu(async (device) => {
      const [m, n, k] = [64, 32, 48];
      const product = g.matmul(g.input("a", [m, k]), g.input("b", [n, k]), { transposeB: true });
      const values = (size: number) => Float32Array.from({ length: size }, (_, i) => i % 7 - 3);
      const [a, b] = [values(m * k), values(n * k)];
      const found: Float32Array[] = [];
      for (const first of [0, 4, 12]) {
        const place = (size: number) => device.allocate(4 * size + first).slice(first, 4 * size);
        const [inputs, result] = [{ a: place(m * k), b: place(n * k) }, place(m * n)];
        device.write(inputs.a, a);
        device.write(inputs.b, b);
        device.compile([product], { inputs, results: [result] }).run();
        found.push(new Float32Array(m * n));
        await device.read(result, found[found.length - 1]);
      }
      const sum = (row: number, column: number) =>
        values(k).reduce((sum, _, i) => sum + a[row * k + i] * b[column * k + i], 0);
      assertEquals(found[0][5 * n + 7], sum(5, 7));
      assertEquals(found[1], found[0]);
      assertEquals(found[2], found[0]);
    });
  });

  Deno.test(`${name}: a session decodes what it decodes on the CPU, and gives all back`, async () => {
    const expected = await withCpu({ threads: 1 }, decoded);
    await withGpu(async (device) => {
      const found = await decoded(device);
      found.forEach((row, i) => assertClose(`part ${i}`, row, expected[i], 2e-5));
      // What is left is for programs.
      const { inUse, peak } = device.memoryUse();
      assert(inUse < peak, `${inUse} of ${peak}`);
      const memory = device.allocate(4096);
      assertEquals(device.memoryUse().inUse, inUse + 4096);
      device.free(memory);
      assertEquals(device.memoryUse().inUse, inUse);
    });
  });

  Deno.test(`${name}: a teacher is kept as it is stored`, async () => {
    await withGpu(async (device) => {
      const teacher = loadTeacher(device, inspectCheckpoint("assets/teacher"));
      const stored = teacher.store.layout.tensors.filter(({ dtype }) => dtype === "bf16");
      assert(stored.some(({ name }) => name === "model.embed_tokens.weight"));
      const weight = await teacher.store.read("model.embed_tokens.weight");
      assert(weight.some((value) => value !== 0));
      teacher.free();
    });
  });

  Deno.test(`${name}: decodes every format of weights as f32 of the same numbers`, async () => {
    const checkpoint = inspectCheckpoint("assets/teacher");
    const texts = async (model: LoadedCheckpoint) => {
      const session = openSession(model, 2);
      const prompts = [[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2], new Array(17).fill(7)];
      const rows = [await session.advance(prompts), await session.advance([[1], [2]])];
      session.free();
      model.free();
      return rows;
    };
    for (const format of WEIGHT_FORMATS) {
      const expected = await withCpu({ threads: 1 }, async (device) => {
        const model = loadCheckpoint(device, checkpoint);
        for (const { name, shape, dtype } of storedAs(modelParameters(model.spec), format)) {
          if (dtype === undefined) continue;
          const bytes = encodeWeights(dtype, await model.store.read(name), shape);
          model.store.write(name, decodeWeights(dtype, bytes, shape));
        }
        return await texts(model);
      });
      const found = await withGpu((device) => texts(loadCheckpoint(device, checkpoint, format)));
      found.forEach((row, i) => assertClose(`${format} ${i}`, row, expected[i], 2e-5));
    }
  });

  Deno.test(`${name}: runs that are timed are done in the order of the calls`, async () => {
    await withGpu(async (device) => {
      const done: WorkProfile[] = [];
      const own = profiled(device, () => true, (profile) => done.push(profile));
      const [x, y] = [own.allocate(4 * 64), own.allocate(4 * 64)];
      const double = own.compile([g.mul(g.input("x", [64]), 2)], {
        inputs: { x },
        results: [y],
        name: "doubling: whole",
      });
      own.write(x, new Float32Array(64).fill(3));
      double.run();
      own.write(x, new Float32Array(64).fill(5));
      const found = new Float32Array(64);
      await own.read(y, found);
      assertEquals([found[0], found[63]], [6, 6]);
      double.run();
      double.free();
      own.clear(x);
      await own.read(y, found);
      assertEquals([found[0], found[63]], [10, 10]);
      while (done.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      assertEquals(done.map(({ name }) => name), ["doubling"]);
      assertEquals(done[0].parts.map(({ part, runs }) => [part, runs]), [["whole", 2]]);
      assertEquals(done[0].parts[0].rows.map(({ label }) => label), ["loop [64]"]);
    });
  });
}

const OPENED = {
  webgpu: { open: openWebgpu, code: "@compute" },
  cuda: {
    open: (options: Parameters<typeof openCuda>[0]) => openCuda({ ...cudaEmulator(), ...options }),
    code: "__global__",
  },
} as const;

for (const [name, { open, code }] of Object.entries(OPENED)) {
  Deno.test(`${name}: tells of what it compiles, with its code`, async () => {
    const told: Compiled[] = [];
    const device = await open({ onCompile: (compiled) => told.push(compiled) });
    try {
      const [x, y] = [device.allocate(4 * 64), device.allocate(4 * 64)];
      const doubled = g.mul(g.input("x", [64]), 2);
      device.compile([doubled], { inputs: { x }, results: [y], name: "doubling" }).free();
      assertEquals(told.map(({ name }) => name), ["doubling"]);
      assertEquals(told[0].program.launches.length, 1);
      assert(told[0].seconds > 0);
      assertStringIncludes(told[0].code(0), code);
    } finally {
      await device.close();
    }
  });
}
