import { assert, assertEquals, assertThrows } from "@std/assert";
import * as g from "../../../../graph/build.ts";
import { wholeView } from "../../../../graph/view.ts";
import type { MatmulShape } from "../../../../kernels/kernel.ts";
import { matmulShape } from "../../../../kernels/matmul/shape.ts";
import { renderWasm, wasmFeatures } from "../../../../kernels/render/wasm.ts";
import { renderX64 } from "../../../../kernels/render/x64.ts";
import { tileMatmulKernel } from "../../../../kernels/matmul/tiles/matmul.ts";
import { suitsTiles, tileBlockingOf } from "../../../../kernels/matmul/tiles/shape.ts";
import { assertCases, runCase } from "../../../support/device_case.ts";
import { withCpu } from "../../../support/devices.ts";
import { arena, compile, kernelTest, TARGETS } from "../../../support/kernels.ts";
import { type OpCase, opCase, real, withGradients } from "../../../support/op_case.ts";
import { random } from "../../../support/random.ts";

/** What runs tiles here; where nothing does, the tests that need none remain. */
const AMX = TARGETS.filter((target) => target === "amx");

type Sizes = readonly [batch: number, m: number, n: number, k: number];

/** A product of whole matrices, stored as they are or transposed. */
function shapeOf([batch, m, n, k]: Sizes, transposeA: boolean, transposeB: boolean): MatmulShape {
  const stored = (rows: number, columns: number) =>
    wholeView(batch === 1 ? [rows, columns] : [batch, rows, columns]);
  const a = transposeA ? stored(k, m) : stored(m, k);
  const b = transposeB ? stored(n, k) : stored(k, n);
  return matmulShape(a, b, transposeA, transposeB);
}

const reals = (count: number, seed: number): Float32Array => {
  const source = random(seed);
  return new Float32Array(count).map(() => source.uniform(-1, 1));
};

/** The product by tiles, its items done so many at a time. */
function product(
  shape: MatmulShape,
  a: Float32Array,
  b: Float32Array,
  { threads = 1, atOnce = Infinity } = {},
): Float32Array {
  const size = shape.batch * shape.m * shape.n;
  const made = tileMatmulKernel(shape, threads);
  const memory = arena(made.scratchBytes + 4 * (a.length + b.length + size) + 4096);
  const operands = [memory.place(a), memory.place(b), memory.room(size)];
  const run = compile(made, memory);
  for (let begin = 0; begin < made.items; begin += atOnce) {
    run(operands, begin, Math.min(begin + atOnce, made.items));
  }
  assertEquals(memory.read(operands[2] - 16, 4), new Float32Array(4).fill(NaN));
  assertEquals(memory.read(operands[2] + 4 * size, 4), new Float32Array(4).fill(NaN));
  return memory.read(operands[2], size);
}

/** Errors of a product, and of sums in f32 one after another, by what absolute products sum to. */
function errors(
  { batch, m, n, k, a: left, b: right }: MatmulShape,
  a: Float32Array,
  b: Float32Array,
  found: Float32Array,
) {
  const worst = { found: 0, plain: 0 };
  for (let place = 0; place < batch * m * n; place++) {
    const [matrix, row, column] = [
      Math.floor(place / (m * n)),
      Math.floor(place / n) % m,
      place % n,
    ];
    let [sum, size, plain] = [0, 0, 0];
    for (let x = 0; x < k; x++) {
      const one = a[matrix * left.batchStride + row * left.mStride + x * left.kStride] *
        b[matrix * right.batchStride + column * right.nStride + x * right.kStride];
      sum += one;
      size += Math.abs(one);
      plain = Math.fround(plain + Math.fround(one));
    }
    worst.found = Math.max(worst.found, Math.abs(found[place] - sum) / size);
    worst.plain = Math.max(worst.plain, Math.abs(plain - sum) / size);
  }
  return worst;
}

// Whole panels and parts of them, of rows, columns and k; k by parts; several items.
const SIZES: readonly Sizes[] = [
  [1, 16, 16, 16],
  [1, 64, 96, 128],
  [1, 33, 47, 40],
  [2, 70, 50, 100],
  [1, 130, 16, 33],
  [3, 17, 130, 64],
  [1, 100, 40, 1100],
  [1, 40, 300, 1025],
  [2, 5, 600, 100],
];

const FORMS = [[false, false], [false, true], [true, false], [true, true]] as const;

kernelTest("products of every size, batch and transposition, with the same bits in any cut", () => {
  for (const sizes of SIZES) {
    for (const [transposeA, transposeB] of FORMS) {
      const shape = shapeOf(sizes, transposeA, transposeB);
      const { batch, m, n, k } = shape;
      const [a, b] = [reals(batch * m * k, m + k), reals(batch * k * n, n)];
      const found = product(shape, a, b);
      const worst = errors(shape, a, b, found).found;
      assert(worst < 4e-7, `${sizes} ${transposeA} ${transposeB}: ${worst}`);
      assertEquals(product(shape, a, b, { threads: 2, atOnce: 1 }), found);
      assertEquals(product(shape, a, b, { threads: 7 }), found);
    }
  }
}, AMX);

kernelTest("products are as exact as sums in f32, whatever their length", () => {
  for (const k of [64, 256, 1024, 4096]) {
    const shape = shapeOf([1, 32, 48, k], false, true);
    // Sums of one sign, and of both.
    for (const shift of [0, 1]) {
      const [a, b] = [reals(32 * k, k), reals(48 * k, 1)].map((list) => list.map((x) => x + shift));
      const { found, plain } = errors(shape, a, b, product(shape, a, b));
      assert(found < plain, `${k}, ${shift}: ${found}, in f32 ${plain}`);
    }
  }
}, AMX);

kernelTest("numbers of all sizes count, and what is not finite is seen", () => {
  const shape = shapeOf([1, 32, 32, 32], false, false);
  const one = new Float32Array(32 * 32).map((_, i) => i % 33 === 0 ? 1 : 0);
  const exponents = reals(32 * 32, 5).map((x) => Math.fround(2 ** Math.round(100 * x)));
  const numbers = reals(32 * 32, 6).map((x, i) => x * exponents[i]);
  assertEquals(product(shape, numbers, one), numbers, "times 1, all 24 bits stay");
  assertEquals(product(shape, one, numbers), numbers);
  for (const odd of [NaN, Infinity, -Infinity]) {
    const found = product(shape, numbers.with(5 * 32 + 3, odd), one);
    assertEquals(found.findIndex(Number.isNaN), 5 * 32);
    assertEquals(found.filter(Number.isNaN).length, 32, "all of its row, none of the others");
  }
}, AMX);

/** Products with what follows on them, or is added to, that go to tiles. */
const cases: readonly OpCase[] = [
  ...FORMS.map(([transposeA, transposeB]) =>
    opCase(`epilogue ${transposeA} ${transposeB}`, {
      a: real(transposeA ? [96, 130] : [130, 96]),
      b: real(transposeB ? [70, 96] : [96, 70]),
      c: real([70]),
    }, ({ a, b, c }) => g.tanh(g.add(g.matmul(a, b, { transposeA, transposeB }), c)))
  ),
  opCase("sum of products", {
    ...{ a: real([90, 64]), b: real([64, 100]), c: real([90, 100]) },
    ...{ d: real([90, 40]), e: real([40, 100]) },
  }, ({ a, b, c, d, e }) => g.add(g.add(g.mul(c, c), g.matmul(a, b)), g.matmul(d, e))),
  opCase(
    "batches",
    { a: real([3, 40, 50]), b: real([3, 50, 60]) },
    ({ a, b }) => g.matmul(a, b),
  ),
];

if (AMX.length > 0) {
  for (const blas of ["none", "auto"] as const) {
    Deno.test(`tiles: epilogues, sums, batches and gradients, BLAS ${blas}`, async () => {
      const all = [...cases, ...cases.map(withGradients)];
      const results: Float32Array[][] = [];
      for (const threads of [1, 2, 3]) {
        await withCpu({ threads, blas, native: "amx" }, async (device) => {
          assert(device.description.includes("AMX"), device.description);
          await assertCases(device, all);
          if (blas !== "none") return;
          const found: Float32Array[] = [];
          for (const each of all) found.push(...await runCase(device, each));
          results.push(found);
        });
      }
      results.forEach((found) => assertEquals(found, results[0]));
    });
  }
}

Deno.test(`tiles: ${AMX.length > 0 ? "" : "no AMX here, only "}code for every product`, () => {
  for (const sizes of SIZES) {
    for (const [transposeA, transposeB] of FORMS) {
      const made = tileMatmulKernel(shapeOf(sizes, transposeA, transposeB), 2);
      const { code, spilled } = renderX64(made.code(16), "amx");
      assert(code.length > 0);
      assertEquals(spilled.vectors, 0);
    }
  }
  const { code } = tileMatmulKernel(shapeOf(SIZES[0], false, false), 1);
  assertThrows(() => renderWasm(code(4), wasmFeatures(), "i32"), Error, "wasm: no");
});

Deno.test("tiles: items cover the result, and k is cut alike for any number of threads", () => {
  for (
    const [m, n, k] of [[2048, 256, 256], [256, 704, 2048], [1000, 4100, 700], [320, 96, 5000]]
  ) {
    const shape = shapeOf([1, m, n, k], false, true);
    const cuts = [1, 2, 3, 8, 64].map((threads) => tileBlockingOf(shape, threads));
    for (const { rows, rowBlocks, columns, columnBlocks, length, lengthBlocks } of cuts) {
      assert(rows * rowBlocks >= m && rows * (rowBlocks - 1) < m);
      assert(columns * columnBlocks >= n && columns * (columnBlocks - 1) < n);
      assert(length * lengthBlocks >= k && length * (lengthBlocks - 1) < k);
      assertEquals([length, lengthBlocks], [cuts[0].length, cuts[0].lengthBlocks]);
    }
    assert(cuts[4].rowBlocks * cuts[4].columnBlocks > cuts[0].rowBlocks * cuts[0].columnBlocks);
  }
});

Deno.test("tiles: which products go there", () => {
  const large = shapeOf([1, 128, 128, 128], false, false);
  assert(suitsTiles(large));
  assert(suitsTiles({ ...large, batch: 3, a: { ...large.a, batchStride: 128 * 128 } }));
  assert(suitsTiles({ ...large, m: 16 }));
  assert(!suitsTiles({ ...large, m: 4, n: 1024 }), "few rows, which need no packing");
  assert(suitsTiles({ ...large, m: 8, n: 1024 }));
  assert(!suitsTiles(shapeOf([1, 8, 1024, 128], false, true)), "more rows, of columns");
  assert(!suitsTiles({ ...large, n: 8 }), "few columns, of which tiles would be mostly empty");
  assert(!suitsTiles(shapeOf([1, 32, 32, 32], false, false)), "little work");
  assert(!suitsTiles({ ...large, a: { ...large.a, kStride: 2 } }), "scattered rows");
});
