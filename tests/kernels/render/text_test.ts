import { assertEquals } from "@std/assert";
import {
  add,
  bitAnd,
  equal,
  fma,
  i32,
  kernel,
  load,
  mul,
  splat,
} from "../../../kernels/language.ts";
import { at } from "../../../kernels/vectors.ts";
import { kernelText } from "../../../kernels/render/text.ts";

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
