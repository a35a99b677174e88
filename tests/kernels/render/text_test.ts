import { assertEquals } from "@std/assert";
import { kernel } from "../../../kernels/language/block.ts";
import {
  add,
  bf16Pairs,
  bitAnd,
  equal,
  fma,
  i32,
  joinQuads,
  load,
  mul,
  nearestBf16,
  splat,
} from "../../../kernels/language/language.ts";
import { at } from "../../../kernels/language/vectors.ts";
import { kernelText } from "../../../kernels/render/text.ts";

Deno.test("kernel as text: tiles, and what is packed for them", () => {
  const code = kernel("tiles", { from: "ptr", to: "ptr" }, (k, { from, to }) => {
    const four = [0, 1, 2, 3].map((i) => load("f32x4", from, 16 * i));
    const high = k.let(nearestBf16(joinQuads(four)));
    k.store(bf16Pairs(high, high), to);
    k.tile(0, { op: "zero" });
    k.tile(4, { op: "load", at: to, offset: 64, stride: 128 });
    k.tile(0, { op: "product", left: 4, right: 6 });
    k.tile(0, { op: "store", at: to, offset: 0, stride: 64 });
  }, 16);
  assertEquals(
    kernelText(code),
    `kernel tiles(p0: ptr, p1: ptr):
  v2 = bf16(quads(f32x4[p0], f32x4[p0 + 16], f32x4[p0 + 32], f32x4[p0 + 48]))
  f32x16[p1] = pairs(v2, v2)
  t0 = 0
  t4 = [p1 + 64] by 128
  t0 += t4 t6
  [p1] by 64 = t0
`,
  );
});

Deno.test("kernel as text: loops, branches, memory and arithmetic", () => {
  const code = kernel("scale", { from: "ptr", to: "ptr", end: "i32" }, (k, { from, to, end }) => {
    const factor = k.let(splat(load("f32", from)));
    k.for(0, end, 4, (i) => {
      const value = k.let(load("f32x4", at(from, i, 4), 16));
      k.store(fma(value, factor, add(value, mul(value, factor))), at(to, i, 4));
      k.if(equal(bitAnd(i, i32(7)), i32(0)), () => k.zero(to, 16), () => k.copy(from, to, 8));
    });
  });
  assertEquals(
    kernelText(code),
    `kernel scale(p0: ptr, p1: ptr, i2: i32):
  v3 = f32x4.splat[p0]
  for i4 in 0 … i2 by 4:
    v5 = f32x4[p0 + (i4 * 4) + 16]
    f32x4[p1 + (i4 * 4)] = fma(v5, v3, v5 + (v5 * v3))
    if (i4 & 7) == 0:
      zero [p1], 16 bytes
    else:
      copy [p0] to [p1], 8 bytes
`,
  );
});
