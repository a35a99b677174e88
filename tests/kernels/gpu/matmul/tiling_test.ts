import { assert, assertEquals } from "@std/assert";
import { warpsOf } from "../../../../kernels/gpu/matmul/tensor_fragments.ts";
import { depthOf, tilingOf } from "../../../../kernels/gpu/matmul/tiling.ts";
import type { MatmulShape } from "../../../../kernels/kernel.ts";

const shapeOf = (m: number, n: number, k: number, batch = 1): MatmulShape => ({
  ...{ batch, m, n, k },
  a: { batchStride: m * k, mStride: k, kStride: 1 },
  b: { batchStride: n * k, nStride: k, kStride: 1 },
});

Deno.test("gpu tiling: parts cover the length, and stretches fit what WebGPU promises", () => {
  const sizes = [1, 7, 16, 100, 352, 1030, 4096];
  for (const m of sizes) {
    for (const n of sizes) {
      for (const k of sizes) {
        const { numbers, rows, columns, parts, partLength } = tilingOf(shapeOf(m, n, k));
        const name = `${m}×${n}×${k}`;
        assert(parts * partLength >= k && (parts - 1) * partLength < k, name);
        assert(rows / 2 < m || rows === 16, name);
        assert(columns / 2 < n || columns === 16, name);
        const depth = depthOf({ numbers, rows, columns });
        assert(parts === 1 || partLength % depth === 0, name);
        assert(4 * 2 * depth * (rows + columns) <= 16384, name);
      }
    }
  }
});

Deno.test("gpu tiling: on tensor cores eight warps share a tile, which fits shared memory", () => {
  const sizes = [1, 16, 65, 352, 4096];
  for (const m of sizes) {
    for (const n of sizes) {
      for (const k of sizes) {
        const tiling = tilingOf(shapeOf(m, n, k), "tf32");
        const { rows, columns, parts, partLength } = tiling;
        const name = `${m}×${n}×${k}`;
        assert(parts * partLength >= k && (parts - 1) * partLength < k, name);
        assert(parts === 1 || partLength % depthOf(tiling) === 0, name);
        const { down, across } = warpsOf(rows, columns)!;
        assertEquals(down * across, 8, name);
        assert(rows / down % 16 === 0 && columns / across % 8 === 0, name);
        // What a block has without asking for more, with what keeps banks apart.
        assert(4 * 2 * depthOf(tiling) * (rows + columns + 16) <= 49152, name);
      }
    }
  }
  const { rows, columns } = tilingOf(shapeOf(4096, 4096, 4096), "tf32");
  assertEquals([rows, columns], [128, 128]);
  assertEquals(warpsOf(128, 128), { down: 4, across: 2 });
  assertEquals(warpsOf(16, 32), undefined);
});

Deno.test("gpu tiling: large tiles where they fill a GPU, parts where there are few", () => {
  const tile = (shape: MatmulShape) => {
    const { rows, columns } = tilingOf(shape);
    return [rows, columns];
  };
  assertEquals(tile(shapeOf(4096, 4096, 4096)), [128, 128]);
  assertEquals(tile(shapeOf(4096, 128, 128)), [64, 64]);
  assertEquals(tile(shapeOf(1, 64, 130)), [16, 16]);
  assertEquals(tilingOf(shapeOf(4096, 4096, 4096)).parts, 1);
  assertEquals(tilingOf(shapeOf(2048, 2048, 128)).parts, 1);
  assert(tilingOf(shapeOf(352, 128, 4096)).parts >= 8);
  assert(tilingOf(shapeOf(352, 128, 4096, 64)).parts <= 2);
});
