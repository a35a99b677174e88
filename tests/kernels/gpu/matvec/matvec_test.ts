/** Products of few rows on both GPUs: stretches of every kind, layouts, many columns and rows. */

import { assertEquals } from "@std/assert";
import { compute } from "../../../../devices/compute.ts";
import type { Device } from "../../../../devices/device.ts";
import { decodeWeights, encodeWeights } from "../../../../kernels/weights/weights.ts";
import * as g from "../../../../graph/build.ts";
import { withCuda, withWebgpu } from "../../../support/devices.ts";
import { random } from "../../../support/random.ts";

function reals(count: number, seed: number): Float32Array {
  const source = random(seed);
  return new Float32Array(count).map(() => source.uniform(-1, 1));
}

/** The largest error relative to the sum of a product's terms without their signs. */
async function productError(device: Device, [m, k, n]: readonly number[], transposeB: boolean) {
  const [a, b] = [reals(m * k, 1), reals(k * n, 2)];
  const shape = transposeB ? [n, k] : [k, n];
  const product = g.matmul(g.input("a", [m, k]), g.input("b", shape), { transposeB });
  const bias = reals(n, 3);
  const [plain, fused] = await compute(device, [
    product,
    g.add(
      g.matmul(g.input("c", [m, k]), g.input("b", shape), { transposeB }),
      g.input("bias", [n]),
    ),
  ], { a, b, c: a, bias });
  let worst = 0;
  for (let row = 0; row < m; row++) {
    for (let column = 0; column < n; column++) {
      let [sum, size] = [0, 0];
      for (let x = 0; x < k; x++) {
        const term = a[row * k + x] * (transposeB ? b[column * k + x] : b[x * n + column]);
        sum += term;
        size += Math.abs(term);
      }
      const at = row * n + column;
      const apart = [plain[at] - sum, fused[at] - sum - bias[column]].map(Math.abs);
      worst = Math.max(worst, ...apart.map((d) => d / (size + 1)));
    }
  }
  return worst;
}

// Stretches that are written out, rests of them, less than a thread each; several blocks of rows,
// the last one smaller; columns enough for several a thread.
const SIZES = [[1, 5, 3], [1, 576, 21], [3, 1100, 17], [9, 130, 35], [17, 70, 5], [64, 513, 9]];
const MANY = [[1, 16, 33003], [8, 32, 8205]];

/**
 * A matrix so large that threads read 16 bytes at a time, with rows that no tile divides and lengths
 * that no number of threads does, from 4 bytes further on as well, where they cannot.
 */
async function largeErrors(device: Device, weight: "q8_0" | "q4_0", m: number) {
  const k = 352;
  const perPiece = { q8_0: 16, q4_0: 32 }[weight];
  const n = Math.ceil(2 ** 18 * perPiece / k) + 3;
  const [a, values] = [reals(m * k, m), reals(n * k, 2)];
  const b = encodeWeights(weight, values, [n, k]);
  const decoded = decodeWeights(weight, b, [n, k]);
  const product = g.matmul(g.input("a", [m, k]), g.input("b", [n, k], weight), {
    transposeB: true,
  });
  const results: Float32Array[] = [];
  for (const first of [0, 4]) {
    const place = (bytes: number) => device.allocate(bytes + first).slice(first, bytes);
    const inputs = { a: place(4 * m * k), b: place(b.byteLength) };
    const result = place(4 * m * n);
    device.write(inputs.a, a);
    device.write(inputs.b, b);
    device.compile([product], { inputs, results: [result] }).run();
    results.push(new Float32Array(m * n));
    await device.read(result, results[results.length - 1]);
  }
  let worst = 0;
  for (let at = 0; at < m * n; at++) {
    const [row, column] = [Math.floor(at / n) * k, at % n * k];
    let [sum, size] = [0, 0];
    for (let x = 0; x < k; x++) {
      const term = a[row + x] * decoded[column + x];
      sum += term;
      size += Math.abs(term);
    }
    worst = Math.max(worst, ...results.map((own) => Math.abs(own[at] - sum) / (size + 1)));
  }
  return worst;
}

const LARGE = [["q8_0", 1], ["q8_0", 3], ["q4_0", 1]] as const;

for (const [name, withGpu] of Object.entries({ webgpu: withWebgpu, cuda: withCuda })) {
  Deno.test(`gpu matvec: ${name}, f64 loops agree`, async () => {
    await withGpu(async (device) => {
      const wrong: unknown[] = [];
      for (const size of [...SIZES, ...MANY]) {
        for (const transposed of [false, true]) {
          const error = await productError(device, size, transposed);
          if (!(error <= 1e-6)) wrong.push([size, transposed, error]);
        }
      }
      assertEquals(wrong, []);
    });
  });

  Deno.test(`gpu matvec: ${name}, 16 bytes at a time, f64 loops agree`, async () => {
    await withGpu(async (device) => {
      const wrong: unknown[] = [];
      for (const [weight, m] of LARGE) {
        const error = await largeErrors(device, weight, m);
        if (!(error <= 1e-6)) wrong.push([weight, m, error]);
      }
      assertEquals(wrong, []);
    });
  });
}
