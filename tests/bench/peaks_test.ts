import { assert, assertEquals } from "@std/assert";
import { measurePeaks, threadCounts } from "../../bench/peaks.ts";

Deno.test("peaks: arithmetic, products and memory of this machine", async () => {
  const small = { bytes: 1 << 20, seconds: 0.001 };
  const peaks = await measurePeaks({ threads: 2, blas: "none", native: "none", ...small });
  assertEquals([peaks.threads, /WebAssembly/.test(peaks.products)], [2, true]);
  for (const value of [peaks.fmaGflops, peaks.productGflops, peaks.readGBs, peaks.copyGBs]) {
    assert(value > 0.01 && value < 1e5, `${value}`);
  }
  assert(peaks.machineGflops >= Math.max(peaks.fmaGflops, peaks.productGflops));
});

Deno.test("peaks: by threads, up to all", () => {
  assertEquals([1, 2, 6, 8].map(threadCounts), [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]);
});
