import { assertEquals, assertThrows } from "@std/assert";
import { compute } from "../../devices/compute.ts";
import type { Device } from "../../devices/device.ts";
import { createStore, layoutOf, storeBindings, storeInputs } from "../../devices/store.ts";
import * as g from "../../graph/build.ts";
import type { Tensor, WeightDType } from "../../graph/tensor.ts";
import { evaluate } from "../../kernels/reference.ts";
import { decodeWeights, encodeWeights } from "../../kernels/weights/weights.ts";
import { withCpu, withCuda, withWebgpu } from "../support/devices.ts";
import { random } from "../support/random.ts";

const TYPES: readonly WeightDType[] = ["bf16", "q8_0", "q4_0"];

function reals(count: number, seed: number): Float32Array {
  const source = random(seed);
  return new Float32Array(count).map(() => source.uniform(-1, 1));
}

/**
 * Multiples of 1/128, of which blocks of 32 have the largest, 127/128: as activations beside q4_0 they
 * are what they were (kernels/matvec/activations.ts).
 */
const steps = (count: number, seed: number) =>
  reals(count, seed).map((x, i) => i % 32 === 0 ? 127 / 128 : Math.trunc(127 * x) / 128);

/** Largest difference relative to the largest value. */
async function apart(
  device: Device,
  graph: Tensor,
  values: Readonly<Record<string, Float32Array | Int32Array | Uint8Array>>,
): Promise<number> {
  const [found] = await compute(device, [graph], values);
  const data = Object.fromEntries(Object.entries(values).map(([name, data]) => [name, { data }]));
  const [expected] = evaluate([graph], data);
  const largest = expected.reduce((top, x) => Math.max(top, Math.abs(x)), 0);
  return expected.reduce((worst, x, i) => Math.max(worst, Math.abs(x - found[i])), 0) / largest;
}

type Run = (device: Device) => Promise<void>;

const DEVICES: Readonly<Record<string, (run: Run) => Promise<void>>> = {
  "1 thread": (run) => withCpu({ threads: 1 }, run),
  "3 threads": (run) => withCpu({ threads: 3 }, run),
  "2 threads and a BLAS": (run) => withCpu({ threads: 2, blas: "auto" }, run),
  webgpu: withWebgpu,
  cuda: withCuda,
};

/** A test for every device. */
function eachDeviceTest(name: string, run: Run): void {
  for (const [device, withDevice] of Object.entries(DEVICES)) {
    Deno.test(`stored weights: ${name}, ${device}`, () => withDevice(run));
  }
}

eachDeviceTest("products as the reference's", async (device) => {
  // Few rows and many, columns that no tile divides, several stretches of k.
  const sizes = [[1, 32, 1], [1, 96, 17], [2, 64, 7], [3, 32, 50], [4, 160, 22]];
  const larger = [[5, 64, 13], [33, 96, 50], [40, 576, 67], [70, 1056, 35]];
  for (const dtype of TYPES) {
    for (const [m, k, n] of [...sizes, ...larger]) {
      const a = g.input("a", [m, k]);
      const b = g.input("b", [n, k], dtype);
      const product = g.matmul(a, b, { transposeB: true });
      const values = {
        a: steps(m * k, m),
        b: encodeWeights(dtype, reals(n * k, n), [n, k]),
      };
      const bound = 4e-6;
      const plain = await apart(device, product, values);
      const fused = await apart(device, g.add(g.silu(product), g.input("c", [n])), {
        ...values,
        c: reals(n, 3),
      });
      const wrong = plain > bound || fused > bound ? [dtype, m, k, n, plain, fused] : [];
      assertEquals(wrong, []);
    }
  }
});

eachDeviceTest("a matrix of many columns, and scales of every size", async (device) => {
  const [m, k, n] = [2, 32, 33001];
  const values = reals(n * k, 5);
  // From scales that f16 has with few bits to the largest; the product is dominated by none.
  values.forEach((x, i) => values[i] = x * 2 ** (-20 + Math.floor(i / k) % 24));
  for (const dtype of TYPES) {
    const b = encodeWeights(dtype, values, [n, k]);
    const decoded = decodeWeights(dtype, b, [n, k]);
    const a = steps(m * k, 6);
    const product = g.matmul(g.input("a", [m, k]), g.input("b", [n, k], dtype), {
      transposeB: true,
    });
    const [found] = await compute(device, [product], { a, b });
    const wrong: unknown[] = [];
    for (let row = 0; row < m; row++) {
      for (let column = 0; column < n; column++) {
        let [sum, size] = [0, 0];
        for (let x = 0; x < k; x++) {
          const term = a[row * k + x] * decoded[column * k + x];
          sum += term;
          size += Math.abs(term);
        }
        const value = found[row * n + column];
        if (!(Math.abs(value - sum) <= 4e-6 * size)) wrong.push([dtype, row, column, value, sum]);
      }
    }
    assertEquals(wrong, []);
  }
});

eachDeviceTest("bf16 of widths that are no multiple of anything", async (device) => {
  for (const [m, k, n] of [[1, 5, 3], [1, 37, 6], [3, 7, 9], [9, 41, 11], [2, 70, 5]]) {
    const product = g.matmul(g.input("a", [m, k]), g.input("b", [n, k], "bf16"), {
      transposeB: true,
    });
    const b = encodeWeights("bf16", reals(n * k, n), [n, k]);
    const error = await apart(device, product, { a: reals(m * k, m), b });
    assertEquals(error > 4e-6 ? [m, k, n, error] : [], []);
  }
});

eachDeviceTest("embeddings are exact, and NaN beyond the table", async (device) => {
  for (const dtype of TYPES) {
    for (const [rows, width] of [[4, 32], [7, 96], [9, 64]]) {
      const table = encodeWeights(dtype, reals(rows * width, rows), [rows, width]);
      const ids = Int32Array.of(rows - 1, 0, 2, 3, rows - 2, rows, -1);
      const [found] = await compute(device, [
        g.embedding(g.input("table", [rows, width], dtype), g.input("ids", [7], "i32")),
      ], { table, ids });
      const decoded = decodeWeights(dtype, table, [rows, width]);
      const expected = [...ids.subarray(0, 5)].flatMap((id) => [
        ...decoded.subarray(id * width, (id + 1) * width),
      ]);
      assertEquals([...found], [...expected, ...new Array(2 * width).fill(NaN)]);
    }
  }
});

Deno.test("stored weights: the same bits for any number of threads", async () => {
  const results: Record<string, Float32Array>[] = [];
  for (const threads of [1, 2, 3]) {
    await withCpu({ threads }, async (device) => {
      const found: Record<string, Float32Array> = {};
      for (const dtype of TYPES) {
        for (const m of [1, 3, 20]) {
          const [k, n] = [64, 150];
          const product = g.matmul(g.input("a", [m, k]), g.input("b", [n, k], dtype), {
            transposeB: true,
          });
          const b = encodeWeights(dtype, reals(n * k, 1), [n, k]);
          [found[`${dtype} ${m}`]] = await compute(device, [product], { a: reals(m * k, 2), b });
        }
      }
      results.push(found);
    });
  }
  assertEquals(results[1], results[0]);
  assertEquals(results[2], results[0]);
});

eachDeviceTest("activations that are no numbers, or vanish", async (device) => {
  for (const dtype of ["q8_0", "q4_0"] as const) {
    const b = encodeWeights(dtype, reals(5 * 64, 1), [5, 64]);
    const product = (a: Float32Array) =>
      compute(device, [
        g.matmul(g.input("a", [1, 64]), g.input("b", [5, 64], dtype), { transposeB: true }),
      ], { a, b });
    for (const value of [NaN, Infinity]) {
      const a = reals(64, 2);
      a[37] = value;
      assertEquals([...(await product(a))[0]].every(Number.isFinite), false);
    }
    for (const value of [0, 1e-40]) {
      const [found] = await product(new Float32Array(64).fill(value));
      assertEquals([...found].map((x) => Math.abs(x) < 1e-36), new Array(5).fill(true));
    }
  }
});

Deno.test("store: weights are stored as the layout says", async () => {
  const layout = layoutOf([
    { name: "a", shape: [3, 32], dtype: "q8_0" },
    { name: "b", shape: [5] },
    { name: "c", shape: [2, 6], dtype: "bf16" },
  ]);
  await withCpu({ threads: 1 }, async (device) => {
    const store = createStore(device, layout);
    const inputs = storeInputs(layout, "");
    const bindings = storeBindings(store, "");
    assertEquals([...inputs.values()].map(({ dtype }) => dtype), ["q8_0", "f32", "bf16"]);
    assertEquals(Object.values(bindings).map(({ bytes }) => bytes), [102, 20, 24]);
    const values = { a: reals(96, 1), b: reals(5, 2), c: reals(12, 3) };
    for (const [name, data] of Object.entries(values)) store.write(name, data);
    assertEquals(
      await store.read("a"),
      decodeWeights("q8_0", encodeWeights("q8_0", values.a, [3, 32]), [3, 32]),
    );
    assertEquals(await store.read("b"), values.b);
    assertEquals(
      await store.read("c"),
      decodeWeights("bf16", encodeWeights("bf16", values.c, [2, 6]), [2, 6]),
    );
    assertThrows(() => store.write("a", reals(9, 1)), Error, "a: expected 96 values, found 9");
    store.free();
  });
});
