import { assertEquals } from "@std/assert";
import { renderX64, X64_LANES, type X64Level } from "../../../../kernels/render/x64.ts";
import { KERNELS } from "../../../support/kernel_kinds.ts";

const spilled = (level: X64Level, names: readonly string[]) =>
  names.filter((name) =>
    renderX64(KERNELS[name].code(X64_LANES[level]), level).spilled.vectors > 0
  );

Deno.test("x64: the vectors of every kernel fit into the registers of AVX-512", () => {
  assertEquals(spilled("avx512", Object.keys(KERNELS)), []);
});

Deno.test("x64: products, decoding and the WKV7 recurrence fit into those of AVX2", () => {
  const decoding = ["matvec", "matvecAcross", "matvecBf16", "matvecQ8", "matvecQ4"];
  assertEquals(spilled("avx2", ["matmul", "wkv7", ...decoding]), []);
});
