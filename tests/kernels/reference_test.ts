import { assertEquals, assertThrows } from "@std/assert";
import * as g from "../../graph/build.ts";
import { type OpKind, topologicalOrder } from "../../graph/tensor.ts";
import { evaluate } from "../../kernels/reference.ts";
import { assertClose } from "../support/compare.ts";
import { caseGraph, caseValues } from "../support/op_case.ts";
import { gradientCases, opCases } from "../support/op_cases.ts";
import { EXACT, f32, i32, values } from "./reference/values.ts";

Deno.test("every kind of operation has a case", () => {
  const kinds: Readonly<Record<OpKind, true>> = {
    input: true,
    constant: true,
    iota: true,
    unary: true,
    binary: true,
    select: true,
    reduce: true,
    reshape: true,
    permute: true,
    expand: true,
    slice: true,
    pad: true,
    concat: true,
    matmul: true,
    rms_norm: true,
    group_norm: true,
    rotary: true,
    embedding: true,
    embedding_gradient: true,
    attention: true,
    attention_gradient: true,
    cached_attention: true,
    wkv6: true,
    wkv6_gradient: true,
    wkv7: true,
    wkv7_gradient: true,
    cross_entropy: true,
    cross_entropy_gradient: true,
    kl_divergence: true,
    kl_divergence_gradient: true,
  };
  const found = new Set<string>();
  for (const each of [...opCases, ...gradientCases]) {
    topologicalOrder(caseGraph(each).outputs).forEach(({ op }) => found.add(op.kind));
  }
  assertEquals(Object.keys(kinds).filter((kind) => !found.has(kind)), []);
});

Deno.test("names of cases are unique", () => {
  const names = [...opCases, ...gradientCases].map(({ name }) => name);
  assertEquals(names.filter((name, i) => names.indexOf(name) !== i), []);
});

Deno.test("every case is finite", () => {
  for (const each of [...opCases, ...gradientCases]) {
    const results = evaluate(caseGraph(each).outputs, caseValues(each));
    const bad = results.some((data) => data.some((x) => !Number.isFinite(x)));
    assertEquals(bad, false, each.name);
  }
});

Deno.test("pointwise operations by hand", () => {
  const x = f32("x", [4]);
  const data = { x: [-2, -0.5, 0, 3] };
  assertEquals(values(g.neg(x), data), [2, 0.5, -0, -3]);
  assertEquals(values(g.abs(x), data), [2, 0.5, 0, 3]);
  assertEquals(values(g.copy(x), data), data.x);
  assertEquals(values(g.reciprocal(x), { x: [-2, -0.5, 4, 0] }), [-0.5, -2, 0.25, Infinity]);
  assertEquals(values(g.sqrt(x), { x: [0, 1, 4, 9] }), [0, 1, 2, 3]);
  assertEquals(values(g.sigmoid(x), { x: [0, -Infinity, Infinity, 0] }), [0.5, 0, 1, 0.5]);
  assertClose("exp", values(g.exp(x), { x: [0, 1, -1, 2] }), [
    1,
    Math.E,
    1 / Math.E,
    7.38905609893065,
  ], EXACT);
  assertClose(
    "log",
    values(g.log(x), { x: [1, Math.E, 2, 10] }),
    [0, 1, Math.LN2, Math.LN10],
    EXACT,
  );
  assertClose("tanh", values(g.tanh(x), { x: [0, 1, -1, 50] }), [
    0,
    0.7615941559557649,
    -0.7615941559557649,
    1,
  ], EXACT);
  assertEquals(values(g.less(x, 0), data), [1, 1, 0, 0]);
  assertEquals(values(g.equal(x, 3), data), [0, 0, 0, 1]);
  assertEquals(values(g.minimum(x, -1), data), [-2, -1, -1, -1]);
  assertEquals(values(g.maximum(x, -1), data), [-1, -0.5, 0, 3]);
  assertEquals(values(g.select(g.less(x, 0), x, 7), data), [-2, -0.5, 7, 7]);
  assertEquals(values(g.sub(1, g.div(x, 2)), data), [2, 1.25, 1, -0.5]);
  assertEquals(values(g.iota([2, 3])), [0, 1, 2, 0, 1, 2]);
});

Deno.test("broadcasting repeats the axes of size 1", () => {
  const [column, row] = [f32("column", [2, 1]), f32("row", [3])];
  const data = { column: [10, 20], row: [1, 2, 3] };
  assertEquals(values(g.add(column, row), data), [11, 12, 13, 21, 22, 23]);
});

Deno.test("reductions by hand", () => {
  const x = f32("x", [2, 3]);
  const data = { x: [1, 2, 3, 4, 5, -6] };
  assertEquals(values(g.sum(x, [0]), data), [5, 7, -3]);
  assertEquals(values(g.sum(x, [-1]), data), [6, 3]);
  assertEquals(values(g.largest(x, [1]), data), [3, 5]);
  assertEquals(values(g.meanAll(x), data), [1.5]);
});

Deno.test("layouts by hand", () => {
  const x = f32("x", [2, 3]);
  const data = { x: [1, 2, 3, 4, 5, 6] };
  assertEquals(values(g.permute(x, [1, 0]), data), [1, 4, 2, 5, 3, 6]);
  assertEquals(values(g.slice(x, 1, 1, 3), data), [2, 3, 5, 6]);
  assertEquals(values(g.pad(x, [0, 1], [3, 4]), data), [0, 1, 2, 3, 0, 4, 5, 6, 0, 0, 0, 0]);
  assertEquals(values(g.concat([x, x], 1), data), [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]);
  const y = f32("y", [2, 3, 4]);
  const counted = Array.from({ length: 24 }, (_, i) => i);
  // Output [k, i, j] is input [i, j, k].
  assertEquals(values(g.permute(y, [2, 0, 1]), { y: counted }).slice(0, 7), [
    0,
    4,
    8,
    12,
    16,
    20,
    1,
  ]);
});

Deno.test("matrix products by hand", () => {
  const data = { a: [1, 2, 3, 4, 5, 6], b: [1, 0, -1, 2, 1, 1] };
  const [a23, a32, b32, b23] = [
    f32("a", [2, 3]),
    f32("a", [3, 2]),
    f32("b", [3, 2]),
    f32("b", [2, 3]),
  ];
  assertEquals(values(g.matmul(a23, b32), data), [2, 7, 5, 16]);
  assertEquals(values(g.matmul(a23, b23, { transposeB: true }), data), [-2, 7, -2, 19]);
  assertEquals(values(g.matmul(a32, b32, { transposeA: true }), data), [3, 11, 4, 14]);
  const both = { transposeA: true, transposeB: true };
  assertEquals(values(g.matmul(a32, b23, both), data), [-4, 10, -4, 14]);
  const [x, w, bias] = [f32("a", [1, 3, 2]), f32("w", [1, 2]), f32("bias", [1])];
  assertEquals(values(g.linear(x, w, bias), { ...data, w: [2, -1], bias: [5] }), [5, 7, 9]);
});

Deno.test("tables' rows by hand", () => {
  const [table, ids] = [f32("table", [3, 2]), i32("ids", [2, 2])];
  const data = { table: [1, 2, 3, 4, 5, 6], ids: [2, 0, 2, 2] };
  assertEquals(values(g.embedding(table, ids), data), [5, 6, 1, 2, 5, 6, 5, 6]);
  const gradient = g.embeddingGradient(f32("gradient", [2, 2, 2]), ids, 3);
  const rows = [1, 2, 3, 4, 5, 6, 7, 8];
  assertEquals(values(gradient, { gradient: rows, ids: data.ids }), [3, 4, 0, 0, 13, 16]);
});

Deno.test("normalisations by hand", () => {
  const x = { x: [3, 4, -4, 3] };
  const root = Math.sqrt(12.5 + 1e-3);
  const normal = g.rmsNorm(f32("x", [2, 2]), f32("weight", [2]), 1e-3);
  const expected = [3 / root, 8 / root, -4 / root, 6 / root];
  assertClose("rms_norm", values(normal, { ...x, weight: [1, 2] }), expected, EXACT);
  // Two heads of width 2: deviations from the mean are ∓0.5 and ∓3.5.
  const grouped = g.groupNorm(f32("x", [1, 2, 2]), f32("weight", [2, 2]), f32("bias", [2, 2]), 0);
  const parameters = { weight: [1, 1, 2, 3], bias: [0, 1, 10, 20] };
  assertClose("group_norm", values(grouped, { ...x, ...parameters }), [-1, 2, 8, 23], EXACT);
});

Deno.test("rotary by hand: a quarter turn, and back", () => {
  const [x, cosine, sine] = [f32("x", [1, 1, 1, 4]), f32("c", [1, 1, 2]), f32("s", [1, 1, 2])];
  const data = { x: [1, 2, 3, 4], c: [0, 1], s: [1, 0] };
  // The first pair is (1, 3), the second, which stays, (2, 4).
  const turned = g.rotary(x, cosine, sine);
  assertEquals(values(turned, data), [-3, 2, 1, 4]);
  assertEquals(values(g.rotary(turned, cosine, sine, true), data), [1, 2, 3, 4]);
});

Deno.test("losses by hand", () => {
  const [hidden, head, targets] = [f32("hidden", [2, 1]), f32("head", [3, 1]), i32("targets", [2])];
  // Logits (0, 0, 0), then (0, ln 2, ln 5): probabilities 1/8, 2/8, 5/8.
  const data = { hidden: [0, 1], head: [0, Math.log(2), Math.log(5)], targets: [1, 2] };
  const expected = [Math.log(3), Math.log(8 / 5)];
  assertClose(
    "cross_entropy",
    values(g.crossEntropy(hidden, head, targets), data),
    expected,
    EXACT,
  );
  const [p, teacherHead] = [f32("p", [2, 1]), f32("teacherHead", [3, 1])];
  const teacher = { p: [0, 0], teacherHead: [0, 0, 0] };
  const kl = g.klDivergence(hidden, head, p, teacherHead);
  // Σ ⅓·log(⅓/q) = −log 3 − ⅓·log(10/512).
  const apart = -Math.log(3) - Math.log(10 / 512) / 3;
  assertClose("kl_divergence", values(kl, { ...data, ...teacher }), [0, apart], EXACT);
});

Deno.test("errors name the operation and what was found", () => {
  const x = f32("x", [2, 3]);
  assertThrows(() => values(g.neg(x)), Error, "input x [2, 3]: no value given");
  assertThrows(() => values(g.neg(x), { x: [1, 2] }), Error, "expected 6 elements, found 2");
  assertThrows(() => values(f32("toString", [1])), Error, "no value given");
  const [table, ids] = [f32("table", [3, 1]), i32("ids", [1])];
  for (const id of [3, -1, 0.5]) {
    assertThrows(
      () => values(g.embedding(table, ids), { table: [1, 2, 3], ids: [id] }),
      Error,
      `embedding: id: expected 0 … 2, found ${id}`,
    );
  }
  const gradient = g.embeddingGradient(f32("gradient", [1, 1]), ids, 3);
  assertThrows(
    () => values(gradient, { gradient: [1], ids: [3] }),
    Error,
    "embedding_gradient: id",
  );
  const loss = g.crossEntropy(f32("h", [1, 1]), f32("head", [3, 1]), i32("t", [1]));
  assertThrows(() => values(loss, { h: [1], head: [1, 2, 3], t: [3] }), Error, "target");
  const row = f32("row", [1, 2, 1, 1]);
  const cache = f32("cache", [1, 1, 3, 1]);
  const { output } = g.cachedAttention(row, row, row, cache, cache, i32("start", [1]), 1);
  const full = { row: [1, 2], cache: [1, 2, 3], start: [2] };
  assertThrows(() => values(output, full), Error, "position: expected 0 … 2, found 3");
});
