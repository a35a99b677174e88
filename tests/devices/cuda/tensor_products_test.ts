/** Matrix products of our own kernels on tensor cores, on the emulated driver. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { compute } from "../../../devices/compute.ts";
import * as g from "../../../graph/build.ts";
import { productKernel } from "../../../kernels/gpu/matmul/matmul.ts";
import { warpsOf } from "../../../kernels/gpu/matmul/tensor_fragments.ts";
import { cudaEmulator } from "../../support/cuda.ts";
import { runCuda } from "../../support/cuda_kernel.ts";
import { assertCases, runCase } from "../../support/device_case.ts";
import { withCuda } from "../../support/devices.ts";
import { gradientCases, opCases } from "../../support/op_cases.ts";
import { matmulCases } from "../../support/op_cases/matmul.ts";
import { random } from "../../support/random.ts";
import { rounded } from "../../support/tf32.ts";

/** All products are ours, in TF32. */
const OURS = { cublasLt: "none", products: "tf32" } as const;

/**
 * Largest error of a case relative to a tensor's largest value: both numbers of a product are rounded
 * to 2⁻¹¹ of themselves, so that one is off by 2⁻¹⁰ of itself at most, and sums, whose terms have both
 * signs, are smaller than the sums of their sizes; some cases take a product of products.
 */
const TOLERANCE = 8 * 2 ** -10;

// Gradients are products again: some of them.
const gradients = gradientCases.filter(({ name }) => /matmul/.test(name));
const products = [...matmulCases, ...gradients.filter((_, i) => i % 4 === 0)];

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

/**
 * Of attention: a score of a size s is off by 2⁻¹⁰·s at most and changes its weight by that share, and
 * some cases have scores of 10.
 */
const ATTENTION_TOLERANCE = 16 * 2 ** -10;

Deno.test("cuda tensor cores: attention and its gradients", async () => {
  // Over a cache it is in f32; with the log-sum-exp, which gradients read, it is the same kernel.
  const cases = [...opCases, ...gradientCases].filter(({ name }) =>
    /^attention/.test(name) && !/log-sum-exp/.test(name)
  );
  await withCuda((device) => assertCases(device, cases, ATTENTION_TOLERANCE), OURS);
});

Deno.test("cuda tensor cores: the same bits every time", async () => {
  const some = [...matmulCases, ...gradientCases].filter(({ name }, i) =>
    /matmul|attention/.test(name) && i % 8 === 0
  );
  await withCuda(async (device) => {
    for (const each of some) assertEquals(await runCase(device, each), await runCase(device, each));
  }, OURS);
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
  [72, 20, 640],
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

Deno.test("cuda tensor cores: tiles of every size, of sides that lie along and across", () => {
  const sizes = [16, 32, 64, 128];
  const tiles = sizes.flatMap((rows) => sizes.map((columns) => ({ rows, columns })))
    .filter(({ rows, columns }) => warpsOf(rows, columns) !== undefined);
  assertEquals(tiles.length, 13);
  for (const { rows, columns } of tiles) {
    const [m, n, k] = [rows + 1, columns - 1, 20];
    const [a, b] = [numbers(m * k), numbers(k * n)];
    for (const along of [true, false]) {
      const strides = (size: number) => along ? [k, 1] : [1, size];
      const [[mStride, aStep], [nStride, bStep]] = [strides(m), strides(n)];
      const shape = {
        ...{ batch: 1, m, n, k },
        a: { batchStride: 0, mStride, kStride: aStep },
        b: { batchStride: 0, nStride, kStride: bStep },
      };
      const tiling = { numbers: "tf32", rows, columns, parts: 1, partLength: k } as const;
      const kernel = productKernel(shape, tiling);
      const code = (kernel.aligned?.otherwise ?? kernel).code();
      const found = runCuda(code, [a, b], m * n, kernel.groups);
      const wrong = found.findIndex((value, at) => {
        let [exact, sum] = [0, 0];
        for (let s = 0; s < k; s++) {
          const left = a[Math.floor(at / n) * mStride + s * aStep];
          const one = left * b[at % n * nStride + s * bStep];
          exact += one;
          sum += Math.abs(one);
        }
        return !(Math.abs(value - exact) <= 2 ** -10 * sum);
      });
      assertEquals(wrong, -1, `${rows} × ${columns}, ${along ? "along" : "across"}`);
    }
  }
});

for (const products of ["f32", "tf32"] as const) {
  Deno.test(`cuda products: ${products} of ours add in place, and read what they alone write`, async () => {
    await withCuda(async (device) => {
      // Of one thread's element in a group, of a part of a tile, and of parts of a length.
      for (const [m, n, k] of [[1, 1, 70], [80, 20, 70], [80, 20, 700]]) {
        const product = g.matmul(g.input("a", [m, k]), g.input("b", [k, n]));
        const [a, b] = [numbers(m * k), numbers(k * n)];
        const inputs = {
          a: device.allocate(4 * m * k),
          b: device.allocate(4 * k * n),
          sum: device.allocate(4 * m * n),
        };
        device.write(inputs.a, a);
        device.write(inputs.b, b);
        device.write(inputs.sum, new Float32Array(m * n).fill(2));
        const executable = device.compile([g.add(g.input("sum", [m, n]), product)], {
          inputs,
          results: [inputs.sum],
        });
        executable.run();
        executable.run();
        const found = new Float32Array(m * n);
        await device.read(inputs.sum, found);
        executable.free();
        const bound = 2 * (products === "f32" ? 1e-5 : 2 ** -10);
        const wrong = found.findIndex((value, at) => {
          let [expected, sizes] = [2, 1];
          for (let s = 0; s < k; s++) {
            const one = a[Math.floor(at / n) * k + s] * b[s * n + at % n];
            expected += 2 * one;
            sizes += Math.abs(one);
          }
          return !(Math.abs(value - expected) <= bound * sizes);
        });
        assertEquals(wrong, -1, `${m} × ${n} × ${k}`);
      }
    }, { ...cudaEmulator(), products, cublasLt: "none" });
  });
}
