/** Matrix products of our own kernels on tensor cores, on the emulated driver. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { compute } from "../../devices/compute.ts";
import * as g from "../../graph/build.ts";
import { cudaEmulator } from "../support/cuda.ts";
import { assertCases } from "../support/device_case.ts";
import { withCuda } from "../support/devices.ts";
import { gradientCases } from "../support/op_cases.ts";
import { matmulCases } from "../support/op_cases/matmul.ts";
import { random } from "../support/random.ts";
import { rounded } from "../support/tf32.ts";

/** All products are ours, in TF32. */
const OURS = { cublasLt: "none", products: "tf32" } as const;

/**
 * Largest error of a case relative to a tensor's largest value: both numbers of a product are rounded
 * to 2⁻¹¹ of themselves, so that one is off by 2⁻¹⁰ of itself at most, and sums, whose terms have both
 * signs, are smaller than the sums of their sizes; some cases take a product of products.
 */
const TOLERANCE = 8 * 2 ** -10;

const products = [...matmulCases, ...gradientCases.filter(({ name }) => /matmul/.test(name))];

Deno.test("cuda tensor cores: products with and without work on their results", async () => {
  await withCuda((device) => {
    assertStringIncludes(device.description, ", without cuBLASLt (tf32)");
    return assertCases(device, products, TOLERANCE);
  }, OURS);
});

Deno.test("cuda tensor cores: small products beside the library's", async () => {
  const options = { ...cudaEmulator(), products: "tf32", ownFlops: Infinity } as const;
  await withCuda((device) => assertCases(device, matmulCases, TOLERANCE), options);
});

/** Numbers from −1 to 1. */
function numbers(length: number): Float32Array<ArrayBuffer> {
  const source = random(length);
  return Float32Array.from({ length }, () => source.uniform(-1, 1));
}

/**
 * m, n, k, of more rows than what matvec.ts does: of one tile and of many, of lengths in parts, of
 * sizes that are read by four and that are not.
 */
const SIZES: readonly (readonly [m: number, n: number, k: number])[] = [
  [128, 128, 32],
  [129, 131, 33],
  [256, 20, 64],
  [70, 200, 36],
  [72, 72, 640],
  [65, 65, 515],
];

for (
  const [transposeA, transposeB] of [[false, true], [false, false], [true, false], [true, true]]
) {
  const name = `${transposeA ? "aᵀ" : "a"}·${transposeB ? "bᵀ" : "b"}`;
  Deno.test(`cuda tensor cores: ${name} is the product of numbers in TF32, summed in f32`, async () => {
    await withCuda(async (device) => {
      for (const [m, n, k] of SIZES) {
        const [a, b] = [numbers(m * k), numbers(k * n)];
        const inputs = {
          a: g.input("a", transposeA ? [k, m] : [m, k]),
          b: g.input("b", transposeB ? [n, k] : [k, n]),
        };
        const product = g.matmul(inputs.a, inputs.b, { transposeA, transposeB });
        const [found] = await compute(device, [product], { a, b });
        const left = (i: number, s: number) => a[transposeA ? s * m + i : i * k + s];
        const right = (s: number, j: number) => b[transposeB ? j * k + s : s * n + j];
        const wrong = found.findIndex((value, at) => {
          const [i, j] = [Math.floor(at / n), at % n];
          let [exact, nearest, sizes] = [0, 0, 0];
          for (let s = 0; s < k; s++) {
            exact += left(i, s) * right(s, j);
            nearest += rounded(left(i, s), "tf32") * rounded(right(s, j), "tf32");
            sizes += Math.abs(left(i, s) * right(s, j));
          }
          // Of f32 sums; and of numbers rounded to 2⁻¹¹ of themselves.
          return !(Math.abs(value - nearest) <= 1e-6 * sizes) ||
            !(Math.abs(value - exact) <= 2 ** -10 * sizes);
        });
        assertEquals(wrong, -1, `${m} × ${n} × ${k}`);
      }
    }, OURS);
  });
}

/** Adds products twice to an input, in its place: the largest error, and the launches. */
async function addInPlace(options: Parameters<typeof withCuda>[1]) {
  // Neither rows nor columns of the left matrices are neighbours: nothing that the library knows.
  const [batch, m, n, k] = [3, 70, 21, 40];
  const [a, b] = [numbers(m * k * batch), numbers(batch * k * n)];
  const start = 2;
  return await withCuda(async (device) => {
    const left = g.permute(g.input("a", [m, k, batch]), [2, 0, 1]);
    const product = g.matmul(left, g.input("b", [batch, k, n]));
    const result = g.add(g.input("sum", [batch, m, n]), product);
    const size = batch * m * n;
    const inputs = {
      a: device.allocate(4 * a.length),
      b: device.allocate(4 * b.length),
      sum: device.allocate(4 * size),
    };
    device.write(inputs.a, a);
    device.write(inputs.b, b);
    device.write(inputs.sum, new Float32Array(size).fill(start));
    const executable = device.compile([result], { inputs, results: [inputs.sum] });
    executable.run();
    const labels = (await executable.profile()).map(({ label }) => label);
    const found = new Float32Array(size);
    await device.read(inputs.sum, found);
    executable.free();
    const apart = found.map((value, at) => {
      const [i, j, own] = [Math.floor(at / n) % m, at % n, Math.floor(at / n / m)];
      let expected = start;
      for (let s = 0; s < k; s++) {
        expected += 2 * a[(i * k + s) * batch + own] * b[(own * k + s) * n + j];
      }
      return Math.abs(value - expected);
    });
    return { apart: Math.max(...apart), labels };
  }, options);
}

for (const numbers of ["f32", "tf32"] as const) {
  Deno.test(`cuda products: ${numbers} of ours add in place, and read what they alone write`, async () => {
    const { apart, labels } = await addInPlace({ ...cudaEmulator(), products: numbers });
    assertEquals(labels, ["matmul+= [3, 70, 21]"]);
    assert(apart < (numbers === "f32" ? 1e-5 : 0.05), `${apart}`);
  });
}
