/** Matrix products of the CUDA device by cuBLASLt, whose calls the emulated driver has. */

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { compute } from "../../../devices/compute.ts";
import { openContext } from "../../../devices/cuda/context.ts";
import { openCublasLt } from "../../../devices/cuda/cublas_lt.ts";
import { openCuda } from "../../../devices/cuda/device.ts";
import { openDriver } from "../../../devices/cuda/driver.ts";
import { CudaError } from "../../../devices/cuda/error.ts";
import { gemmOf, OWN_FLOPS } from "../../../devices/cuda/gemm.ts";
import { createMemory } from "../../../devices/cuda/memory.ts";
import { createProducts } from "../../../devices/cuda/products.ts";
import { PRODUCT_PRECISIONS } from "../../../devices/device.ts";
import * as g from "../../../graph/build.ts";
import type { MatmulShape } from "../../../kernels/kernel.ts";
import { temporaryFolder } from "../../support/checkpoint.ts";
import { cudaEmulator } from "../../support/cuda.ts";
import { assertCases } from "../../support/device_case.ts";
import { withCuda } from "../../support/devices.ts";
import { gradientCases } from "../../support/op_cases.ts";
import { matmulCases } from "../../support/op_cases/matmul.ts";
import { random } from "../../support/random.ts";
import { rounded } from "../../support/tf32.ts";

/** A product of [5, 7] and [7, 3], row-major. */
const PLAIN: MatmulShape = {
  ...{ batch: 1, m: 5, n: 3, k: 7 },
  a: { batchStride: 0, mStride: 7, kStride: 1 },
  b: { batchStride: 0, nStride: 1, kStride: 3 },
};

Deno.test("cuda products: a row-major product is the column-major one of its transposes", () => {
  assertEquals(gemmOf(PLAIN), {
    batch: 1,
    a: { rows: 3, columns: 7, leading: 3, batchStride: 0, transposed: false },
    b: { rows: 7, columns: 5, leading: 7, batchStride: 0, transposed: false },
    d: { rows: 3, columns: 5, leading: 3, batchStride: 15, transposed: false },
    beta: 0,
  });
  const turned = gemmOf({
    ...PLAIN,
    batch: 2,
    a: { batchStride: 100, mStride: 1, kStride: 9 },
    b: { batchStride: 0, nStride: 8, kStride: 1 },
    accumulates: true,
  });
  assertEquals(
    turned?.a,
    { rows: 7, columns: 3, leading: 8, batchStride: 0, transposed: true },
  );
  assertEquals(
    turned?.b,
    { rows: 5, columns: 7, leading: 9, batchStride: 100, transposed: true },
  );
  assertEquals(turned?.beta, 1);
});

Deno.test("cuda products: strides that the library does not know, and stored weights, are not its", () => {
  const { a, b } = PLAIN;
  assertEquals(gemmOf({ ...PLAIN, a: { ...a, kStride: 2 } }), undefined);
  assertEquals(gemmOf({ ...PLAIN, a: { ...a, mStride: 0 } }), undefined);
  assertEquals(gemmOf({ ...PLAIN, b: { ...b, kStride: 2 } }), undefined);
  assertEquals(gemmOf({ ...PLAIN, weight: "bf16" }), undefined);
  // One row lies wherever its stride says.
  assertEquals(gemmOf({ ...PLAIN, m: 1, a: { ...a, mStride: 0 } })?.b.leading, 7);
});

const products = [...matmulCases, ...gradientCases.filter(({ name }) => /matmul/.test(name))];

Deno.test("cuda products: our own kernels do them where there is no library", async () => {
  await withCuda((device) => {
    assertStringIncludes(device.description, ", without cuBLASLt");
    return assertCases(device, products);
  }, { cublasLt: "none" });
});

Deno.test("cuda products: small ones are ours beside the library", async () => {
  await withCuda((device) => assertCases(device, products), { ownFlops: OWN_FLOPS });
});

/** Numbers from −1 to 1. */
function numbers(length: number): Float32Array<ArrayBuffer> {
  const source = random(length);
  return Float32Array.from({ length }, () => source.uniform(-1, 1));
}

// More rows than those of products that are ours in any case.
const [M, N, K] = [80, 20, 70];
const product = g.matmul(g.input("a", [M, K]), g.input("b", [K, N]));

for (const precision of PRODUCT_PRECISIONS) {
  Deno.test(`cuda products: ${precision} rounds what is multiplied and sums in f32`, async () => {
    const [a, b] = [numbers(M * K), numbers(K * N)];
    const [found] = await withCuda((device) => {
      assert(/, cuBLASLt [\d.]+ \(/.test(device.description), device.description);
      assertStringIncludes(device.description, `(${precision})`);
      return compute(device, [product], { a, b });
    }, { ...cudaEmulator(), products: precision });
    found.forEach((value, i) => {
      let expected = 0;
      for (let k = 0; k < K; k++) {
        const left = a[Math.floor(i / N) * K + k];
        const right = b[k * N + i % N];
        expected += rounded(left, precision) * rounded(right, precision);
      }
      assert(Math.abs(value - expected) <= 1e-5, `${i}: ${value}, expected ${expected}`);
    });
  });
}

Deno.test("cuda products: the library's need no kernel; where it has no way, ours is compiled", async () => {
  using temporary = temporaryFolder();
  const compiled = () => {
    try {
      return [...Deno.readDirSync(temporary.folder)].length;
    } catch {
      return 0;
    }
  };
  const device = openCuda({ ...cudaEmulator(), ownFlops: 0, cache: temporary.folder });
  try {
    await compute(device, [product], { a: numbers(M * K), b: numbers(K * N) });
    assertEquals(compiled(), 0);
    // The emulated library does not do products of one element.
    const dot = g.matmul(g.input("a", [1, K]), g.input("b", [K, 1]));
    const [a, b] = [numbers(K), numbers(K)];
    const [[found]] = await compute(device, [dot], { a, b });
    assert(Math.abs(found - a.reduce((sum, x, i) => sum + x * b[i], 0)) < 1e-5);
    assertEquals(compiled(), 1);
  } finally {
    await device.close();
  }
});

Deno.test("cuda products: they are added to what is there, in place", async () => {
  await withCuda(async (device) => {
    const gradient = g.input("gradient", [M, N]);
    const memory = {
      a: device.allocate(4 * M * K),
      b: device.allocate(4 * K * N),
      gradient: device.allocate(4 * M * N),
    };
    device.write(memory.a, numbers(M * K));
    device.write(memory.b, numbers(K * N));
    device.write(memory.gradient, new Float32Array(M * N).fill(2));
    const executable = device.compile([g.add(gradient, product)], {
      inputs: memory,
      results: [memory.gradient],
    });
    const [once] = await compute(device, [product], { a: numbers(M * K), b: numbers(K * N) });
    executable.run();
    executable.run();
    const rows = await executable.profile();
    assertEquals(rows.map(({ label }) => label), [`matmul+= [${M}, ${N}]`]);
    const found = new Float32Array(M * N);
    await device.read(memory.gradient, found);
    found.forEach((value, i) => assert(Math.abs(value - (2 + 3 * once[i])) < 1e-4));
    executable.free();
  });
});

Deno.test("cuda products: work on results is done in small ones, and after large ones", async () => {
  await withCuda(async (device) => {
    const labels = async (m: number) => {
      const [a, b] = [g.input("a", [m, 512]), g.input("b", [512, 512])];
      const inputs = { a: device.allocate(4 * m * 512), b: device.allocate(4 * 512 * 512) };
      device.clear(inputs.a);
      device.clear(inputs.b);
      const results = [device.allocate(4 * m * 512)];
      const executable = device.compile([g.tanh(g.matmul(a, b))], { inputs, results });
      const rows = await executable.profile();
      executable.free();
      return rows.map(({ label }) => label);
    };
    assert((await labels(16)).every((label) => /^matmul\+/.test(label)));
    assertEquals(await labels(256), ["matmul [256, 512]", "loop [256, 512]"]);
  });
});

Deno.test("cuda products: the emulated library refuses what does not fit its memory", () => {
  const { driver: path, nvrtc } = cudaEmulator();
  const driver = openDriver(path);
  const context = openContext(driver);
  const memory = createMemory(context);
  const own = createProducts(openCublasLt({ major: 13, nvrtc }, path), context, memory, "f32");
  const [a, b, d] = [4 * 35, 4 * 21, 4 * 15].map((bytes) => memory.allocate(bytes).address);
  own.prepare(PLAIN, [a, b, d])!();
  // A row more than there is memory for.
  own.prepare({ ...PLAIN, m: 6 }, [a, b, d])!();
  assertStringIncludes(
    assertThrows(() => context.clear(d, 4), CudaError).message,
    "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered: cublasLtMatmul: B is not",
  );
  own.close();
  context.close();
  driver.close();
});

Deno.test("cuda products: a library that is named must open", () => {
  const paths = cudaEmulator();
  const missing = assertThrows(() => openCuda({ ...paths, cublasLt: "/no/lt.so" }), CudaError);
  assertStringIncludes(missing.message, "cuda: no cuBLASLt: tried /no/lt.so (");
  assertStringIncludes(missing.message, "or set SUTURE_CUDA_CUBLASLT to its path");
});
