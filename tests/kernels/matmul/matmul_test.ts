/** Products by panels: how they are cut, and sums of several stretches of k. */

import { assert, assertEquals } from "@std/assert";
import * as g from "../../../graph/build.ts";
import { wholeView } from "../../../graph/view.ts";
import { blockingOf, matmulShape } from "../../../kernels/matmul/shape.ts";
import { assertCases, runCase } from "../../support/device_case.ts";
import { eachCpuTest, withCpu } from "../../support/devices.ts";
import { opCase, real } from "../../support/op_case.ts";

const FORMS = [[false, false], [false, true], [true, false], [true, true]] as const;

/** m, n, k: one, two and three stretches; parts of tiles, panels and slices are left over. */
const SIZES = [[48, 64, 640], [61, 70, 641], [27, 33, 1291], [100, 130, 1500]] as const;

eachCpuTest("products of every form and length, by any number of threads", async (native) => {
  const all = SIZES.flatMap(([m, n, k]) =>
    FORMS.map(([transposeA, transposeB]) =>
      opCase(`${m} × ${n} × ${k}, ${transposeA}, ${transposeB}`, {
        a: real(transposeA ? [k, m] : [m, k]),
        b: real(transposeB ? [n, k] : [k, n]),
        c: real([n]),
      }, ({ a, b, c }) => {
        const product = () => g.matmul(a, b, { transposeA, transposeB });
        return [product(), g.mul(product(), c)];
      })
    )
  );
  const results: Float32Array[][] = [];
  for (const threads of [1, 2, 3]) {
    await withCpu({ threads, native, blas: "none" }, async (device) => {
      if (threads === 2) await assertCases(device, all);
      const found: Float32Array[] = [];
      for (const each of all) found.push(...await runCase(device, each));
      results.push(found);
    });
  }
  for (const found of results) {
    const others = found.findIndex((values, i) => values.some((v, at) => v !== results[0][i][at]));
    assertEquals(others, -1);
  }
});

Deno.test("products: items cover the result, threads have as much to do, k is cut alike", () => {
  for (
    const [m, n, k] of [[256, 576, 576], [256, 1536, 576], [576, 1536, 256], [352, 128, 4096]]
  ) {
    for (const [transposeA, transposeB] of FORMS) {
      const a = wholeView(transposeA ? [k, m] : [m, k]);
      const b = wholeView(transposeB ? [n, k] : [k, n]);
      const shape = matmulShape(a, b, transposeA, transposeB);
      const counts = [1, 2, 3, 4, 8];
      const cuts = counts.map((threads) => blockingOf(shape, threads));
      cuts.forEach((cut, i) => {
        const { rows, rowBlocks, columns, columnBlocks, length, lengthBlocks, grain } = cut;
        assert(rows * rowBlocks >= m && rows * (rowBlocks - 1) < m);
        assert(columns * columnBlocks >= n && columns * (columnBlocks - 1) < n);
        assert(length * lengthBlocks >= k && length * (lengthBlocks - 1) < k);
        assertEquals([length, lengthBlocks], [cuts[0].length, cuts[0].lengthBlocks]);
        assertEquals(rowBlocks % grain, 0, "a piece has the same columns");
        const threads = counts[i];
        const pieces = rowBlocks / grain * columnBlocks;
        const longest = Math.ceil(pieces / threads) * grain * rows * columns;
        assert(longest <= 1.25 * m * n / threads, `${threads} threads: ${JSON.stringify(cut)}`);
      });
    }
  }
});
