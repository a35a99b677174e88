/** The CUDA device on the emulated driver, which runs the rendered kernels. */

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { openCuda } from "../../../devices/cuda/device.ts";
import { CudaError } from "../../../devices/cuda/error.ts";
import * as g from "../../../graph/build.ts";
import { cudaEmulator } from "../../support/cuda.ts";
import { assertCases, runCase, TOLERANCE } from "../../support/device_case.ts";
import { withCuda } from "../../support/devices.ts";
import { testPrograms } from "../../support/device_programs.ts";
import { gradientCases, opCases } from "../../support/op_cases.ts";
import { randomGraph } from "../../support/random_graph.ts";

Deno.test("cuda: every operation is what the reference says", async () => {
  await withCuda((device) => assertCases(device, opCases));
});

Deno.test("cuda: gradients of every operation are what the reference says", async () => {
  await withCuda((device) => assertCases(device, gradientCases));
});

Deno.test("cuda: random graphs, fused and scheduled, are what the reference says", async () => {
  const seeds = Array.from({ length: 30 }, (_, seed) => seed);
  const graphs = seeds.map((seed) => randomGraph(seed, { steps: 12 + seed }));
  await withCuda((device) => assertCases(device, graphs, 5 * TOLERANCE));
});

Deno.test("cuda: the same bits every time", async () => {
  const some = [...opCases, ...gradientCases].filter((_, i) => i % 40 === 0);
  await withCuda(async (device) => {
    for (const each of some) assertEquals(await runCase(device, each), await runCase(device, each));
  });
});

testPrograms("cuda", withCuda, [8, 70, 40], 40_000);

Deno.test("cuda: memory is copied, cut and cleared, in pieces of any size", async () => {
  await withCuda(async (device) => {
    // More than the page-locked memory holds at once.
    const data = Uint8Array.from({ length: (9 << 20) + 3 }, (_, i) => i * 7 + (i >> 9));
    const memory = device.allocate(data.length);
    device.write(memory, data);
    const found = new Uint8Array(data.length);
    await device.read(memory, found);
    assertEquals(found.findIndex((byte, i) => byte !== data[i]), -1);
    device.clear(memory.slice(100, 50));
    const part = new Uint8Array(52);
    await device.read(memory.slice(99, 52), part);
    assertEquals([...part], [data[99], ...new Array(50).fill(0), data[150]]);
    device.free(memory);
  });
});

Deno.test("cuda: a profile has every launch, and its work", async () => {
  await withCuda(async (device) => {
    const [a, b] = [g.input("a", [64, 96]), g.input("b", [96, 32])];
    const inputs = { a: device.allocate(4 * 64 * 96), b: device.allocate(4 * 96 * 32) };
    device.clear(inputs.a);
    device.clear(inputs.b);
    const results = [device.allocate(4 * 64 * 32)];
    const executable = device.compile([g.matmul(a, b)], { inputs, results });
    const rows = await executable.profile();
    assertEquals(rows.map(({ label, launches, flops }) => ({ label, launches, flops })), [
      { label: "matmul [64, 32]", launches: 1, flops: 2 * 64 * 96 * 32 },
    ]);
    assert(rows[0].seconds > 0);
  });
});

Deno.test("cuda: what is out of memory says what was asked for, what is free, and what helps", async () => {
  await withCuda((device) => {
    const { message } = assertThrows(() => device.allocate(2 ** 40), RangeError);
    assertStringIncludes(message, "cuda: out of memory: 1048576 MiB wanted, ");
    assert(/ \d+ MiB of \d+ MiB free on /.test(message), message);
    assertStringIncludes(message, "a smaller batch, a shorter context, accumulation, remat");
    assertStringIncludes(message, "a teacher in bf16 or --weights in fewer bits need less");
    assertEquals(device.allocate(16).bytes, 16);
  });
});

Deno.test("cuda: an error of the driver names the call, the code and its text", async () => {
  await withCuda((device) => {
    const memory = device.allocate(16);
    device.free(memory);
    const { message } = assertThrows(() => device.free(memory), CudaError);
    const found = "cuda: cuMemFreeAsync: CUDA_ERROR_INVALID_VALUE: invalid argument";
    assert(message.startsWith(found), message);
  });
});

Deno.test("cuda: bindings that do not fit are all named", async () => {
  await withCuda((device) => {
    const sum = g.add(g.input("a", [2, 3]), g.input("b", [3]));
    const [a, y] = [device.allocate(4 * 5), device.allocate(4 * 7)];
    const executable = device.compile([sum], { inputs: { a }, results: [y] });
    assertEquals(
      assertThrows(() => executable.run(), Error).message,
      "cuda: bindings: input a: 20 bytes, expected 24; input b [3] has no memory; " +
        "result 0: 28 bytes, expected 24",
    );
  });
});

Deno.test("cuda: a tensor beyond what kernels count is an error that says so", async () => {
  await withCuda((device) => {
    const graph = g.sum(g.input("x", [2 ** 20, 2 ** 11]), [-1]);
    const { message } = assertThrows(
      () => device.compile([graph], { inputs: {}, results: [] }),
      RangeError,
    );
    assertStringIncludes(message, "cuda: ");
    assertStringIncludes(message, ": a tensor of 8589934592 bytes, kernels reach 8 GiB of one; ");
  });
});

Deno.test("cuda: without a driver or NVRTC, an error says what to install", () => {
  const paths = cudaEmulator();
  const driver = assertThrows(() => openCuda({ ...paths, driver: "/no/such.so" }), CudaError);
  assertStringIncludes(driver.message, "cuda: no NVIDIA driver: tried /no/such.so (");
  assertStringIncludes(driver.message, "or set SUTURE_CUDA_DRIVER to its path");
  const nvrtc = assertThrows(() => openCuda({ ...paths, nvrtc: "libnosuch.so" }), CudaError);
  assertStringIncludes(nvrtc.message, "cuda: no NVRTC: tried libnosuch.so (");
  assertStringIncludes(nvrtc.message, "or set SUTURE_CUDA_NVRTC to its path");
});
