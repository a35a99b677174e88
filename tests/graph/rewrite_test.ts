import { assert, assertEquals } from "@std/assert";
import * as g from "../../graph/build.ts";
import { outputsOf, rewrite } from "../../graph/rewrite.ts";
import { contiguousStrides, describe, type Tensor, topologicalOrder } from "../../graph/tensor.ts";
import { randomGraph } from "../support/random_graph.ts";
import { caseGraph } from "../support/op_case.ts";

Deno.test("tensor: strides are row-major", () => {
  assertEquals(contiguousStrides([2, 3, 4]), [12, 4, 1]);
  assertEquals(contiguousStrides([1]), [1]);
});

Deno.test("tensor: a description tells what made it and its shape", () => {
  const x = g.input("x", [2, 3]);
  assertEquals([x, g.exp(x), g.add(x, x), g.sum(x, [0])].map(describe), [
    "input x [2, 3]",
    "exp [2, 3]",
    "add [2, 3]",
    "reduce [1, 3]",
  ]);
});

Deno.test("tensor: an order has every node once, after its inputs", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const order = topologicalOrder(caseGraph(randomGraph(seed)).outputs);
    const place = new Map(order.map((node, i) => [node, i]));
    assertEquals(place.size, order.length);
    order.forEach((node, i) => assert(node.inputs.every((t) => place.get(t.node)! < i)));
  }
});

Deno.test("tensor: a chain of many nodes needs no deep recursion", () => {
  let t: Tensor = g.input("x", [1]);
  for (let i = 0; i < 100_000; i++) t = g.neg(t);
  assertEquals(topologicalOrder([t]).length, 100_001);
});

Deno.test("rewrite: what no rule changes stays the same node", () => {
  const [x, y] = [g.input("x", [2]), g.input("y", [2])];
  const [kept, changed] = [g.mul(g.exp(x), x), g.mul(g.exp(y), x)];
  const roots = rewrite(
    [kept, changed],
    ({ op }, inputs) =>
      op.kind === "input" && op.name === "y" ? [g.neg(x)] : inputs.length > 5 ? [] : undefined,
  );
  assert(roots[0].node === kept.node);
  assert(roots[1].node !== changed.node);
  assert(roots[1].node.inputs[0].node.inputs[0].node.inputs[0].node === x.node);
});

Deno.test("rewrite: every output of a node finds its place", () => {
  const row = g.input("row", [1, 3, 1, 4]);
  const { y, state } = g.wkv7(
    { r: row, w: row, k: row, v: row, kappa: row, a: row },
    g.input("state", [1, 1, 4, 4]),
  );
  const swapped = rewrite([g.neg(state), g.neg(y)], (node) => {
    if (node.op.kind !== "wkv7") return undefined;
    const [first, last, chunks] = outputsOf(node);
    return [g.copy(first), g.copy(last), chunks];
  });
  assertEquals(swapped.map(({ shape }) => shape), [[1, 1, 4, 4], [1, 3, 1, 4]]);
  assertEquals(swapped.map(({ node }) => node.inputs[0].node.inputs[0].output), [1, 0]);
});

Deno.test("rewrite: another output of the same node is another tensor", () => {
  const [row, cache] = [g.input("row", [1, 2, 1, 4]), g.input("cache", [1, 1, 5, 4])];
  const start = g.input("start", [1], "i32");
  const { keys } = g.cachedAttention(row, row, row, cache, cache, start, 1);
  const [swapped] = rewrite([g.neg(keys)], (node) => {
    if (node.op.kind !== "cached_attention") return undefined;
    const [output, newKeys, newValues] = outputsOf(node);
    return [output, newValues, newKeys];
  });
  assertEquals(swapped.node.inputs[0].output, 2);
});
