import { assert, assertEquals } from "@std/assert";
import { largestDifference } from "../../bench/difference.ts";
import { benchOperation } from "../../bench/operation.ts";
import { operationsOf } from "../../bench/operations.ts";
import { quickValues } from "../../bench/quick_values.ts";
import { decoderConfig } from "../../bench/shapes.ts";
import type { Device } from "../../devices/device.ts";
import { withCpu, withWebgpu } from "../support/devices.ts";

const SHAPE = { config: decoderConfig([64, 96, 1, 2, 1, 32, 128]), batch: 2, context: 18 };
const OPERATIONS = operationsOf(SHAPE);

/** Those with a gradient compute what they are without one as well; products are alike. */
const TRIED = OPERATIONS.filter(({ name }) =>
  !OPERATIONS.some((other) => other.name === `${name}, with gradients`) &&
  (!name.startsWith("product") || name.endsWith("projection"))
);

Deno.test("operations: on a GPU they give what the CPU gives", async () => {
  await withWebgpu((gpu) =>
    withCpu({ threads: 1 }, async (cpu) => {
      for (const operation of TRIED) {
        const row = await benchOperation(operation, gpu, cpu, 0);
        assert(row.difference < 2e-5, `${row.name}: ${row.difference}`);
        assert(row.seconds > 0 && row.bytes > 0, row.name);
        assert(row.flops > 0 || row.name.startsWith("embedding"), row.name);
      }
    })
  );
});

Deno.test("operations: each kind of kernel of training, forward and backward", () => {
  const names = OPERATIONS.map(({ name }) => name);
  assertEquals(new Set(names).size, names.length);
  for (const name of ["attention", "wkv6", "wkv7", "RMSNorm", "GroupNorm", "embedding"]) {
    assert(names.includes(name) && names.includes(`${name}, with gradients`), name);
  }
  for (const name of ["head and KL, with gradients", "column sums", "AdamW"]) {
    assert(names.includes(name), name);
  }
});

Deno.test("operations: bytes are those of inputs and results, each once", () => {
  const bytes = (name: string) => OPERATIONS.find((own) => own.name === name)!.bytes;
  assertEquals(bytes("product, projection"), 4 * (36 * 64 + 64 * 64 + 36 * 64));
  assertEquals(bytes("column sums"), 4 * (36 * 64 + 64));
  // Only rows of the table are read.
  assertEquals(bytes("embedding"), 4 * 2 * 36 * 64);
  assertEquals(bytes("AdamW"), 4 * 8 * 128 * 64);
});

Deno.test("operations: a device that computes something else is found out", async () => {
  await withCpu({ threads: 1 }, async (cpu) => {
    const wrong: Device = {
      ...cpu,
      read: async (memory, into) => {
        await cpu.read(memory, into);
        if (into.length > 1) into[1] += 0.01;
      },
    };
    const { difference } = await benchOperation(OPERATIONS[0], wrong, cpu, 0);
    assert(difference > 1e-4, `${difference}`);
  });
});

Deno.test("difference: relative to the largest value of a tensor; no number is infinitely apart", () => {
  assertEquals(largestDifference([[1, 2, 4]], [[1, 2, 4]]), 0);
  assertEquals(largestDifference([[1, 2], [1, 2, 5]], [[1, 2], [1, 2, 4]]), 0.25);
  assertEquals(largestDifference([[0, 0]], [[0, 0]]), 0);
  for (const found of [[[1, NaN]], [[1]], [], [[1, 2, 3]]]) {
    assertEquals(largestDifference(found, [[1, 2]]), Infinity);
  }
  assertEquals(largestDifference([[1]], [[0]]), Infinity);
});

Deno.test("quick values: of the deviation that a parameter begins with", () => {
  const deviation = (values: Float32Array) => Math.hypot(...values) / Math.sqrt(values.length);
  const normal = { kind: "normal", deviation: 0.02 } as const;
  const orthogonal = { kind: "orthogonal", gain: 3 } as const;
  const of = (initial: typeof normal | typeof orthogonal) =>
    quickValues({ name: "w", shape: [64, 144], initial, mixer: false }, 1);
  assert(Math.abs(deviation(of(normal)) / 0.02 - 1) < 0.03);
  // Rows of an orthogonal matrix have the gain as their length.
  assert(Math.abs(deviation(of(orthogonal)) / (3 / 12) - 1) < 0.03);
  const ones = quickValues({
    name: "w",
    shape: [3],
    initial: { kind: "constant", value: 1 },
    mixer: false,
  }, 1);
  assertEquals([...ones], [1, 1, 1]);
});
