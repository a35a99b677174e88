import { assertEquals } from "@std/assert";
import { betterCore } from "../../../devices/cpu/blas_core.ts";

const avx2 = { avx2: true, avx512: false };
const avx512 = { avx2: true, avx512: true };

Deno.test("BLAS kernels: a processor that the library does not know gets the widest it has", () => {
  assertEquals(betterCore({ core: "Prescott", ...avx512 }), "SkylakeX");
  assertEquals(betterCore({ core: "Zen", ...avx512 }), "SkylakeX");
  assertEquals(betterCore({ core: "Prescott", ...avx2 }), "Haswell");
  assertEquals(betterCore({ core: "Sandybridge", ...avx2 }), "Haswell");
});

Deno.test("BLAS kernels: what the library chose well is kept", () => {
  assertEquals(betterCore({ core: "SapphireRapids", ...avx512 }), undefined);
  assertEquals(betterCore({ core: "Cooperlake", ...avx512 }), undefined);
  assertEquals(betterCore({ core: "Zen", ...avx2 }), undefined);
  assertEquals(betterCore({ core: "Prescott", avx2: false, avx512: false }), undefined);
});
