import { assertEquals } from "@std/assert";
import { costOf } from "../../devices/null.ts";
import * as g from "../../graph/build.ts";

Deno.test("cost: a loop reads what it repeats once", () => {
  const x = g.input("x", [6, 8]);
  const cost = (t: Parameters<typeof g.mul>[1]) => costOf([g.mul(x, t)]);
  assertEquals(cost(g.input("weight", [8])).bytes, 4 * (48 + 8 + 48));
  assertEquals(cost(g.input("scale", [6, 1])).bytes, 4 * (48 + 6 + 48));
  assertEquals(cost(g.input("other", [6, 8])).bytes, 4 * (48 + 48 + 48));
  assertEquals(cost(g.input("other", [6, 8])).flops, 48);
});

Deno.test("cost: a product is not stored where something else is made of it", () => {
  const [a, b] = [g.input("a", [6, 10]), g.input("b", [10, 8])];
  const product = g.matmul(a, b);
  assertEquals(costOf([product]).bytes, 4 * (60 + 80 + 48));
  const residual = costOf([g.add(product, g.input("x", [6, 8]))]);
  assertEquals([residual.launches, residual.flops], [1, 2 * 6 * 8 * 10 + 48]);
  assertEquals(residual.bytes, 4 * (60 + 80 + 48 + 48));
});
