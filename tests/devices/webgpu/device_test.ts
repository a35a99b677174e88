import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { linkLaunch } from "../../../devices/webgpu/link.ts";
import { piece } from "../../../devices/webgpu/memory.ts";
import { NEEDS_LESS } from "../../../devices/out_of_memory.ts";
import { checkShared, gridOf } from "../../../devices/webgpu/pipelines.ts";
import * as g from "../../../graph/build.ts";
import type { GpuKernel } from "../../../kernels/gpu/kernel.ts";
import type { Launch } from "../../../kernels/program.ts";
import { runCase } from "../../support/device_case.ts";
import { withWebgpu } from "../../support/devices.ts";
import { testPrograms } from "../../support/device_programs.ts";
import { opCases } from "../../support/op_cases.ts";

const message = (run: () => unknown) => assertThrows(run, Error).message;

Deno.test("webgpu: the same bits every time", async () => {
  const some = opCases.filter((_, i) => i % 40 === 0);
  const all: string[][] = [];
  for (let run = 0; run < 2; run++) {
    all.push(
      await withWebgpu(async (device) => {
        const texts: string[] = [];
        for (const each of some) {
          const results = await runCase(device, each);
          texts.push(results.map((own) => new Uint32Array(own.buffer).join()).join(";"));
        }
        return texts;
      }),
    );
  }
  assertEquals(all[0], all[1]);
});

testPrograms("webgpu", withWebgpu, [8, 70, 40], 40_000);

Deno.test("webgpu: inputs and results may share memory, and begin anywhere in it", async () => {
  await withWebgpu(async (device) => {
    const memory = device.allocate(4 * 64);
    device.write(memory, Float32Array.from({ length: 64 }, (_, i) => i));
    const [x, y] = [memory.slice(4 * 3, 4 * 8), memory.slice(4 * 17, 4 * 8)];
    const sum = g.add(g.input("x", [8]), g.input("y", [8]));
    device.compile([sum], { inputs: { x, y }, results: [y] }).run();
    const found = new Float32Array(64);
    await device.read(memory, found);
    const expected = Float32Array.from(
      { length: 64 },
      (_, i) => i >= 17 && i < 25 ? i + (i - 14) : i,
    );
    assertEquals(found, expected);
  });
});

Deno.test("webgpu: memory is written, read and cleared to the byte", async () => {
  await withWebgpu(async (device) => {
    const memory = device.allocate(10);
    device.write(memory, Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
    const found = new Uint8Array(10);
    await device.read(memory, found);
    assertEquals([...found], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    device.clear(memory.slice(4, 4));
    await device.read(memory, found);
    assertEquals([...found], [1, 2, 3, 4, 0, 0, 0, 0, 9, 10]);
    assertEquals(message(() => memory.slice(8, 3)), "memory: 3 bytes at 8 of 10");
    assertEquals(
      message(() => device.write(memory, new Uint8Array(11))),
      "memory: 11 bytes into 10",
    );
    device.free(memory);
    assertEquals(message(() => device.free(memory)), "webgpu: nothing was allocated there");
  });
});

Deno.test("webgpu: bindings that do not fit are all named", async () => {
  await withWebgpu((device) => {
    const sum = g.add(g.input("a", [2, 3]), g.input("b", [3]));
    const [a, y] = [device.allocate(4 * 5), device.allocate(4 * 7)];
    const executable = device.compile([sum], { inputs: { a }, results: [y] });
    assertEquals(
      message(() => executable.run()),
      "webgpu: bindings: input a: 20 bytes, expected 24; input b [3] has no memory; " +
        "result 0: 28 bytes, expected 24",
    );
  });
});

Deno.test("webgpu: out of memory says how much was wanted", async () => {
  await withWebgpu((device) => {
    device.allocate(1024);
    const { message } = assertThrows(() => device.allocate(2 ** 40), RangeError);
    assertStringIncludes(message, `${2 ** 40} bytes wanted, 1024 in use`);
    assertStringIncludes(message, "a teacher in bf16 or --weights in fewer bits need less");
  });
});

Deno.test("webgpu: what a kernel does wrong is an error with its name", async () => {
  await withWebgpu(async (device) => {
    const x = device.allocate(4 * 8);
    const sum = g.mul(g.input("x", [8]), 2);
    // Memory that belongs to another device: nothing that can be bound here.
    const other = await withWebgpu((gone) => gone.allocate(4 * 8));
    device.compile([sum], { inputs: { x: other }, results: [x] }).run();
    const error = await assertRejects(() => device.read(x, new Float32Array(8)), Error);
    assert(error.message.startsWith("webgpu: loop [8]: "), error.message);
    // Nothing more runs on what may be wrong.
    assert(message(() => device.clear(x)).startsWith("webgpu: loop [8]: "));
  });
});

Deno.test("webgpu: a device that is lost says so, and what to do", async () => {
  const own = GPUAdapter.prototype.requestDevice;
  let opened: GPUDevice | undefined;
  GPUAdapter.prototype.requestDevice = async function (descriptor) {
    return opened = await own.call(this, descriptor);
  };
  try {
    await withWebgpu(async (device) => {
      const x = device.allocate(64);
      opened!.destroy();
      const { message: told } = await assertRejects(
        () => device.read(x, new Float32Array(16)),
        Error,
      );
      assert(/^webgpu: the device was lost: .*run the command again, /.test(told), told);
      assertEquals(message(() => device.clear(x)), told);
    });
  } finally {
    GPUAdapter.prototype.requestDevice = own;
  }
});

Deno.test("webgpu: a profile has every launch, and its work", async () => {
  await withWebgpu(async (device) => {
    const [a, b] = [g.input("a", [64, 96]), g.input("b", [96, 32])];
    const inputs = { a: device.allocate(4 * 64 * 96), b: device.allocate(4 * 96 * 32) };
    const results = [device.allocate(4 * 64 * 32)];
    const rows = await device.compile([g.matmul(a, b)], { inputs, results }).profile();
    assertEquals(rows.map(({ label, launches, flops }) => ({ label, launches, flops })), [
      { label: "matmul [64, 32]", launches: 1, flops: 2 * 64 * 96 * 32 },
    ]);
    assert(rows[0].seconds > 0);
  });
});

/** A launch of three operands of 256 bytes, of which the last is written. */
const launch = {
  kernel: {} as GpuKernel,
  operands: [0, 1, 2].map(() => ({
    place: { kind: "arena", offset: 0 },
    offset: 8,
    bytes: 256,
  })),
  firstWritten: 2,
  label: "loop [64]",
} as const satisfies Launch<GpuKernel>;

const limits = {
  maxStorageBufferBindingSize: 4096,
  maxStorageBuffersPerShaderStage: 8,
  minStorageBufferOffsetAlignment: 256,
};

Deno.test("webgpu: a buffer is bound once, or in parts that do not overlap", () => {
  const [one, two] = [{} as GPUBuffer, {} as GPUBuffer];
  const memory = [piece(one, 0, 256), piece(two, 64, 256), piece(one, 3200, 256)];
  assertEquals(linkLaunch(launch, memory, limits), {
    bindings: [
      { buffer: one, begin: 0, end: 3456, written: true },
      { buffer: two, begin: 0, end: 320, written: false },
    ],
    parts: [1, 1],
    partBytes: 4096,
    of: [0, 1, 0],
    firsts: [2, 18, 802],
  });
  const small = { ...limits, maxStorageBufferBindingSize: 512 };
  assertEquals(linkLaunch(launch, memory, small), {
    bindings: [
      { buffer: one, begin: 0, end: 256, written: true },
      { buffer: one, begin: 3072, end: 3456, written: true },
      { buffer: two, begin: 0, end: 320, written: false },
    ],
    parts: [1, 1, 1],
    partBytes: 512,
    of: [0, 2, 1],
    firsts: [2, 18, 34],
  });
});

Deno.test("webgpu: a tensor larger than a binding may be is bound in parts", () => {
  const [one, two] = [{} as GPUBuffer, {} as GPUBuffer];
  const large = { ...launch, operands: launch.operands.map((own) => ({ ...own, bytes: 2600 })) };
  const small = {
    ...limits,
    maxStorageBufferBindingSize: 1100,
    maxStorageBuffersPerShaderStage: 9,
  };
  const memory = [piece(one, 300, 2600), piece(two, 0, 2600), piece(one, 2900, 2600)];
  assertEquals(linkLaunch(large, memory, small), {
    bindings: [
      // The second tensor begins in the last 256 bytes of the first one: they are one array.
      { buffer: one, begin: 256, end: 1280, written: true },
      { buffer: one, begin: 1280, end: 2304, written: true },
      { buffer: one, begin: 2304, end: 3328, written: true },
      { buffer: one, begin: 3328, end: 4352, written: true },
      { buffer: one, begin: 4352, end: 5376, written: true },
      { buffer: one, begin: 5376, end: 5504, written: true },
      { buffer: two, begin: 0, end: 1024, written: false },
      { buffer: two, begin: 1024, end: 2048, written: false },
      { buffer: two, begin: 2048, end: 2608, written: false },
    ],
    parts: [6, 3],
    partBytes: 1024,
    of: [0, 1, 0],
    firsts: [(300 + 8 - 256) / 4, 2, (2900 + 8 - 256) / 4],
  });
});

Deno.test("webgpu: tensors larger than a binding may be are read and written in parts", async () => {
  const adapter = await navigator.gpu.requestAdapter();
  const width = 1024;
  // A driver in software has 128 MiB; where a GPU has far more, they are as large as here.
  const most = Math.min(2 ** 27, adapter!.limits.maxStorageBufferBindingSize);
  const rows = most / (4 * width) + 3000;
  const value = (row: number, column: number) => row % 251 - column % 7;
  await withWebgpu(async (device) => {
    const memory = device.allocate(4 * rows * width);
    const table = Float32Array.from(
      { length: rows * width },
      (_, i) => value(Math.floor(i / width), i % width),
    );
    device.write(memory, table);
    const x = Float32Array.from({ length: width }, (_, i) => i % 3 - 1);
    const at = Int32Array.from([0, 5, rows - 3001, rows - 3000, rows - 2999, rows - 1]);
    const inputs = { table: memory, x: device.allocate(4 * width), at: device.allocate(24) };
    device.write(inputs.x, x);
    device.write(inputs.at, at);
    const matrix = g.input("table", [rows, width]);
    const results = [rows, at.length * width, rows * width].map((n) => device.allocate(4 * n));
    device.compile([
      g.matmul(g.input("x", [1, width]), matrix, { transposeB: true }),
      g.embedding(matrix, g.input("at", [at.length], "i32")),
      g.mul(matrix, 2),
    ], { inputs, results }).run();
    const [sums, taken, doubled] = await Promise.all(results.map(async ({ bytes }, i) => {
      const values = new Float32Array(bytes / 4);
      await device.read(results[i], values);
      return values;
    }));
    const sum = (row: number) => x.reduce((sum, own, i) => sum + own * value(row, i), 0);
    // Whole numbers, which f32 adds exactly.
    assertEquals(sums.findIndex((own, row) => own !== sum(row)), -1);
    assertEquals(
      taken.findIndex((own, i) => own !== table[at[Math.floor(i / width)] * width + i % width]),
      -1,
    );
    assertEquals(doubled.findIndex((own, i) => own !== 2 * table[i]), -1);
  });
});

Deno.test("webgpu: what the limits do not allow is refused with its name", () => {
  const memory = [0, 1, 2].map((i) => piece({} as GPUBuffer, i, 256));
  assertEquals(
    message(() => linkLaunch(launch, memory, { ...limits, maxStorageBuffersPerShaderStage: 2 })),
    "webgpu: loop [64]: expected at most 2 buffers (this GPU's " +
      "maxStorageBuffersPerShaderStage), found 3",
  );
  const small = { ...limits, maxStorageBufferBindingSize: 256, maxStorageBuffersPerShaderStage: 4 };
  assertEquals(
    message(() => linkLaunch(launch, memory, small)),
    "webgpu: loop [64]: expected at most 4 buffers (this GPU's maxStorageBuffersPerShaderStage), " +
      `found 5, as tensors are larger than its maxStorageBufferBindingSize; ${NEEDS_LESS}`,
  );
});

Deno.test("webgpu: what a GPU's groups cannot share is refused with its name", () => {
  const shared = [{ type: "f32", size: 4096 }, { type: "i32", size: 4096 }] as const;
  checkShared({ shared }, "attention [1, 64, 1, 128]", 32768);
  assertEquals(
    message(() => checkShared({ shared }, "attention [1, 64, 1, 256]", 16384)),
    "webgpu: attention [1, 64, 1, 256]: expected at most 16384 bytes that a group shares (this " +
      "GPU's maxComputeWorkgroupStorageSize), found 32768, which wide heads take",
  );
});

Deno.test("webgpu: many groups are a grid with as few to spare as can be", () => {
  assertEquals(gridOf(1, 65535), [1, 1]);
  assertEquals(gridOf(65535, 65535), [65535, 1]);
  assertEquals(gridOf(65537, 65535), [32769, 2]);
});
