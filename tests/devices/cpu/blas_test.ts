import { assert, assertEquals } from "@std/assert";
import { findBlas, type GemmCall } from "../../../devices/cpu/blas.ts";
import { findNative } from "../../../devices/cpu/native.ts";
import { gemmCall } from "../../../devices/cpu/link.ts";
import * as g from "../../../graph/build.ts";
import { topologicalOrder } from "../../../graph/tensor.ts";
import { wholeView } from "../../../graph/view.ts";
import type { MatmulShape } from "../../../kernels/kernel.ts";
import type { X64Level } from "../../../kernels/render/x64.ts";
import { matmulShape, suitsLibrary } from "../../../kernels/matmul/shape.ts";
import { assertCases, runCase } from "../../support/device_case.ts";
import { withCpu } from "../../support/devices.ts";
import { caseGraph, type OpCase, opCase, real, withGradients } from "../../support/op_case.ts";
import { gradientCases, opCases } from "../../support/op_cases.ts";

/** Kernels beside the library: those by tiles, or with 16 lanes, would take its products. */
const native = findNative() === undefined ? "none" : "avx2";

/** The library under test; a machine without one cannot run these tests. */
function library(): string {
  const found = findBlas();
  assert(found !== undefined, "no BLAS found: apt-get install libopenblas0-pthread");
  return found;
}

const hasMatmul = (each: OpCase) =>
  topologicalOrder(caseGraph(each).outputs).some(({ op }) => op.kind === "matmul");

/** Products large enough for the library, with every transposition, and what follows on them. */
const large: readonly OpCase[] = [false, true].flatMap((transposeA) =>
  [false, true].map((transposeB) =>
    opCase(`large ${transposeA} ${transposeB}`, {
      a: real(transposeA ? [96, 130] : [130, 96]),
      b: real(transposeB ? [70, 96] : [96, 70]),
      c: real([70]),
    }, ({ a, b, c }) => g.tanh(g.add(g.matmul(a, b, { transposeA, transposeB }), c)))
  )
);

Deno.test("BLAS: products and their gradients are what the reference says", async () => {
  const cases = [...opCases, ...gradientCases].filter(hasMatmul);
  const all = [...cases, ...large, ...large.map(withGradients)];
  await withCpu({ threads: 2, blas: library(), native }, (device) => {
    assert(device.description.includes(library()), device.description);
    return assertCases(device, all);
  });
});

Deno.test("BLAS: with 16 lanes it has gradients of weights over a long batch", async () => {
  const best = findNative();
  const sizes = [[20, 90, 1300], [40, 90, 1300], [90, 1300, 40]];
  const cases = sizes.flatMap(([m, n, k]) =>
    [false, true].map((transposeA) =>
      opCase(`${m} × ${n} × ${k}, ${transposeA}`, {
        a: real(transposeA ? [k, m] : [m, k]),
        b: real([k, n]),
        c: real([n]),
      }, ({ a, b, c }) => {
        const product = g.matmul(a, b, { transposeA });
        return [product, g.mul(g.matmul(a, b, { transposeA }), c)];
      })
    )
  );
  const levels: X64Level[] = best === "amx" ? ["avx512", "amx"] : best === undefined ? [] : [best];
  for (const level of levels) {
    await withCpu({ threads: 2, blas: library(), native: level }, async (device) => {
      await assertCases(device, [...cases, ...large, ...large.map(withGradients)]);
    });
  }
});

Deno.test("BLAS: which products are a library's beside kernels with 16 lanes", () => {
  const shape = (m: number, k: number, n: number, transposeA: boolean) =>
    matmulShape(wholeView(transposeA ? [k, m] : [m, k]), wholeView([k, n]), transposeA, false);
  assert(suitsLibrary(shape(704, 2048, 256, true)));
  assert(!suitsLibrary(shape(704, 2048, 256, false)));
  assert(!suitsLibrary(shape(704, 256, 2048, true)));
  assert(suitsLibrary({ ...shape(256, 256, 64, false), weight: "bf16" }), "stored weights");
});

Deno.test("BLAS: auto uses the library that is found, none does not", async () => {
  const path = library();
  await withCpu({ threads: 1, blas: "auto" }, ({ description }) => {
    assert(description.includes(`BLAS ${path}`), description);
  });
  await withCpu({ threads: 1, blas: "none" }, ({ description }) => {
    assert(!description.includes("BLAS"), description);
  });
});

Deno.test({
  name: "BLAS: none is looked for without permission to call one",
  permissions: { ffi: false },
  fn: () => assertEquals(findBlas(), undefined),
});

Deno.test("BLAS: the same bits in every run", async () => {
  const run = () =>
    withCpu({ threads: 2, blas: library(), native }, async (device) => {
      const results: Float32Array[] = [];
      for (const each of large) results.push(...await runCase(device, each));
      return results;
    });
  assertEquals(await run(), await run());
});

/** A product as the library would be called for it, with its operands as they lie. */
function call(
  m: number,
  k: number,
  n: number,
  { transposeA = false, transposeB = false, threads = 2 } = {},
): GemmCall | undefined {
  const a = wholeView(transposeA ? [k, m] : [m, k]);
  const b = wholeView(transposeB ? [n, k] : [k, n]);
  return gemmCall(matmulShape(a, b, transposeA, transposeB), threads);
}

Deno.test("BLAS: which products go there, and in how many slices", () => {
  assertEquals(call(64, 96, 33), {
    ...{ m: 64, n: 33, k: 96, transposeA: false, transposeB: false },
    ...{ lda: 96, ldb: 33, ldc: 33, accumulates: false, rows: 32 },
  });
  assertEquals(call(64, 96, 33, { transposeA: true, transposeB: true, threads: 3 }), {
    ...{ m: 64, n: 33, k: 96, transposeA: true, transposeB: true },
    ...{ lda: 64, ldb: 96, ldc: 33, accumulates: false, rows: 32 },
  });
  const added = { ...matmulShape(wholeView([64, 96]), wholeView([96, 33]), false, false) };
  assertEquals(gemmCall({ ...added, accumulates: true }, 2)?.accumulates, true);
  assertEquals(call(8, 8, 8), undefined, "small ones are not worth the call");
});

Deno.test("BLAS: batched products and scattered operands stay with the kernels", () => {
  const shape: MatmulShape = {
    ...{ batch: 1, m: 64, n: 64, k: 64 },
    a: { batchStride: 0, mStride: 64, kStride: 1 },
    b: { batchStride: 0, kStride: 64, nStride: 1 },
  };
  assert(gemmCall(shape, 1) !== undefined);
  assertEquals(gemmCall({ ...shape, batch: 2 }, 1), undefined);
  assertEquals(gemmCall({ ...shape, a: { ...shape.a, mStride: 128, kStride: 2 } }, 1), undefined);
  assertEquals(gemmCall({ ...shape, a: { ...shape.a, mStride: 0 } }, 1), undefined);
  const wide = { ...shape, a: { ...shape.a, mStride: 100 } };
  assertEquals(gemmCall(wide, 1)?.lda, 100, "rows of a wider matrix");
});
