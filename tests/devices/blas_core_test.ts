import { assertEquals } from "@std/assert";
import { betterCore } from "../../devices/cpu/blas_core.ts";

const avx2 = ["sse2", "avx", "avx2", "fma"];
const avx512 = [...avx2, "avx512f", "avx512dq", "avx512bw", "avx512vl"];

Deno.test("BLAS kernels: a processor that the library does not know gets the widest it has", () => {
  assertEquals(betterCore("Prescott", new Set(avx512)), "SkylakeX");
  assertEquals(betterCore("Zen", new Set(avx512)), "SkylakeX");
  assertEquals(betterCore("Prescott", new Set(avx2)), "Haswell");
  assertEquals(betterCore("Sandybridge", new Set(avx2)), "Haswell");
});

Deno.test("BLAS kernels: what the library chose well is kept", () => {
  assertEquals(betterCore("SapphireRapids", new Set(avx512)), undefined);
  assertEquals(betterCore("Cooperlake", new Set(avx512)), undefined);
  assertEquals(betterCore("Zen", new Set(avx2)), undefined);
  assertEquals(betterCore("Prescott", new Set(["sse2"])), undefined);
  assertEquals(betterCore("armv8", new Set()), undefined);
});
