import { assert, assertEquals } from "@std/assert";
import * as g from "../../graph/build.ts";
import { gradients } from "../../graph/gradient.ts";
import { simplify } from "../../graph/simplification.ts";
import { type OpKind, type Tensor, topologicalOrder } from "../../graph/tensor.ts";
import { evaluate } from "../../kernels/reference.ts";
import { assertClose } from "../support/compare.ts";
import { caseGraph, caseValues, type OpCase, withGradients } from "../support/op_case.ts";
import { gradientCases, opCases } from "../support/op_cases.ts";
import { randomGraph } from "../support/random_graph.ts";

const f32 = g.input;
const kindsOf = (roots: readonly Tensor[]): OpKind[] =>
  topologicalOrder(roots).map(({ op }) => op.kind);
const count = (roots: readonly Tensor[], kind: OpKind): number =>
  kindsOf(roots).filter((each) => each === kind).length;

/** Simplified, a case gives the same; a division by a constant may differ by its rounding. */
function check(each: OpCase, tolerance: number): void {
  const { outputs } = caseGraph(each);
  const simple = simplify(outputs);
  assertEquals(simple.map(({ shape }) => shape), outputs.map(({ shape }) => shape), each.name);
  assert(topologicalOrder(simple).length <= topologicalOrder(outputs).length, each.name);
  const values = caseValues(each);
  const expected = evaluate(outputs, values);
  evaluate(simple, values).forEach((data, i) => {
    assert(data.every(Number.isFinite), each.name);
    assertClose(`${each.name}, output ${i}`, data, expected[i], tolerance);
  });
}

Deno.test("simplify: every case stays what it is", () => {
  for (const each of [...opCases, ...gradientCases]) check(each, 1e-14);
});

Deno.test("simplify: random graphs stay what they are, to the last bit", () => {
  for (let seed = 1; seed <= 300; seed++) check(randomGraph(seed), 0);
});

Deno.test("simplify: gradients of random graphs stay what they are", () => {
  for (let seed = 1; seed <= 100; seed++) check(withGradients(randomGraph(seed)), 1e-13);
});

Deno.test("simplify: what is computed twice is computed once", () => {
  const [x, y] = [f32("x", [3, 4]), f32("y", [3, 4])];
  const [a, b] = [g.exp(g.mul(x, y)), g.exp(g.mul(x, y))];
  const [left, right, sum] = simplify([a, b, g.add(a, b)]);
  assert(left.node === right.node);
  assert(sum.node.inputs.every((t) => t.node === left.node));
});

Deno.test("simplify: constants that JSON cannot tell apart stay apart", () => {
  const numbers = [Infinity, -Infinity, NaN, 0, -0, 1];
  const roots = numbers.map((n) => g.constant(n, [1]));
  assertEquals(evaluate(simplify(roots), {}).map(([n]) => n), numbers);
});

Deno.test("simplify: shapes and element types tell nodes apart", () => {
  const roots = [g.constant(1, [2]), g.constant(1, [3]), g.iota([2, 3]), g.iota([3, 2])];
  assertEquals(simplify(roots).map(({ shape }) => shape), roots.map(({ shape }) => shape));
  const x = f32("x", [6]);
  const [a, b] = simplify([g.reshape(x, [2, 3]), g.reshape(x, [3, 2])]);
  assertEquals([a.shape, b.shape], [[2, 3], [3, 2]]);
});

Deno.test("simplify: arithmetic with 0, 1 and −1 goes away", () => {
  const x = f32("x", [3]);
  const same = [
    g.add(x, 0),
    g.add(0, x),
    g.sub(x, 0),
    g.mul(x, 1),
    g.mul(1, x),
    g.div(x, 1),
    g.neg(g.neg(x)),
    g.neg(g.mul(x, -1)),
    g.sub(0, g.neg(x)),
  ];
  for (const root of simplify(same)) assert(root.node === x.node);
  const nothing = simplify([g.mul(x, 0), g.mul(0, x), g.div(0, x)]);
  for (const root of nothing) assertEquals(root.node.op, { kind: "constant", value: 0 });
  for (const root of nothing) assertEquals(root.shape, [3]);
});

Deno.test("simplify: constants fold through arithmetic, moves and sums", () => {
  const two = g.constant(2, [3, 4]);
  const folded = simplify([
    g.add(two, 3),
    g.sub(two, 3),
    g.mul(two, 3),
    g.div(two, 4),
    g.neg(two),
    g.permute(two, [1, 0]),
    g.reshape(two, [12]),
    g.slice(two, 1, 0, 2),
    g.expand(two, [5, 3, 4]),
    g.concat([two, two], 0),
    g.sum(two, [0, 1]),
    g.mean(two, [1]),
  ]);
  const expected = [5, -1, 6, 0.5, -2, 2, 2, 2, 2, 2, 24, 2];
  assertEquals(
    folded.map(({ node }) => node.op),
    expected.map((value) => ({ kind: "constant" as const, value })),
  );
});

Deno.test("simplify: a view of a view is one view", () => {
  const x = f32("x", [2, 1, 6]);
  const [reshaped] = simplify([g.reshape(g.reshape(x, [3, 4]), [12])]);
  assert(reshaped.node.inputs[0].node === x.node);
  const [expanded] = simplify([g.expand(g.expand(x, [2, 3, 6]), [2, 3, 6])]);
  assert(expanded.node.inputs[0].node === x.node);
  const [none] = simplify([g.reshape(g.reshape(x, [12]), [2, 1, 6])]);
  assert(none.node === x.node);
});

Deno.test("simplify: the gradients of neighbouring slices become one concatenation", () => {
  const x = f32("x", [5, 12]);
  const parts = [0, 4, 8].map((begin) => g.slice(x, 1, begin, begin + 4));
  const [a, b, c] = parts;
  const loss = g.meanAll(g.mul(g.mul(a, b), g.exp(c)));
  const roots = simplify(gradients(loss, [x]));
  assertEquals(count(roots, "pad"), 0);
  assertEquals(count(roots, "concat") > 0, true);
});

Deno.test("simplify: gradients of slices become one concatenation in whatever order they come", () => {
  const x = f32("x", [3, 10]);
  const slices = [0, 1, 2, 3, 4].map((i) => g.slice(x, 1, 2 * i, 2 * i + 2));
  for (const order of [[0, 1, 2, 3, 4], [0, 2, 1, 4, 3], [4, 2, 3, 1, 0], [0, 3, 1, 4, 2]]) {
    const terms = order.map((i) => g.reshape(g.mul(slices[i], g.add(i, slices[i])), [6]));
    const loss = terms.map((t) => g.sum(t, [0])).reduce((a, b) => g.add(a, b));
    const before = gradients(loss, [x]);
    const after = simplify(before);
    assertEquals(count(after, "pad"), 0, order.join());
    assertEquals(count(after, "concat"), 1, order.join());
    const values = { x: { data: Array.from({ length: 30 }, (_, i) => Math.sin(i)) } };
    assertEquals(evaluate(after, values), evaluate(before, values));
  }
});

Deno.test("simplify: pads join in either order, and what lies around them stays zero", () => {
  const [x, y] = [f32("x", [2, 3]), f32("y", [2, 2])];
  const [first, second] = [g.pad(x, [0, 1], [2, 7]), g.pad(y, [0, 4], [2, 7])];
  for (const sum of [g.add(first, second), g.add(second, first)]) {
    const [root] = simplify([sum]);
    assertEquals(kindsOf([root]).filter((kind) => kind !== "input"), ["concat", "pad"]);
    const values = { x: { data: [1, 2, 3, 4, 5, 6] }, y: { data: [7, 8, 9, 10] } };
    assertEquals(Array.from(evaluate([root], values)[0]), [
      0,
      1,
      2,
      3,
      7,
      8,
      0,
      0,
      4,
      5,
      6,
      9,
      10,
      0,
    ]);
  }
  const apart = [
    // A gap, an overlap, then twice two axes.
    g.add(first, g.pad(y, [0, 5], [2, 7])),
    g.add(first, g.pad(y, [0, 3], [2, 7])),
    g.add(g.pad(x, [0, 0], [4, 3]), g.pad(f32("z", [4, 1]), [0, 2], [4, 3])),
    g.add(g.pad(x, [0, 0], [4, 3]), g.pad(y, [2, 1], [4, 3])),
  ];
  for (const sum of apart) assertEquals(count(simplify([sum]), "concat"), 0);
});

const lossCases = [
  [
    "cross_entropy",
    (hidden: Tensor, head: Tensor) => g.crossEntropy(hidden, head, g.input("targets", [6], "i32")),
  ],
  [
    "kl_divergence",
    (hidden: Tensor, head: Tensor) =>
      g.klDivergence(hidden, head, f32("teacher", [6, 3]), f32("teacherHead", [9, 3])),
  ],
] as const;

for (const [kind, build] of lossCases) {
  const gradientKind = `${kind}_gradient` as const;

  Deno.test(`simplify: ${kind} is shared with its gradient, so that logits are made once`, () => {
    const [hidden, head] = [f32("hidden", [6, 4]), f32("head", [9, 4])];
    const loss = g.meanAll(build(g.tanh(hidden), head));
    const roots = simplify([loss, ...gradients(loss, [hidden, head])]);
    assertEquals([count(roots, kind), count(roots, gradientKind)], [0, 1]);
  });

  Deno.test(`simplify: ${kind} that was built twice is shared too`, () => {
    const [hidden, head] = [f32("hidden", [6, 4]), f32("head", [9, 4])];
    const loss = g.meanAll(build(g.tanh(hidden), head));
    const report = build(g.tanh(hidden), head);
    const roots = simplify([report, loss, ...gradients(loss, [hidden, head])]);
    assertEquals([count(roots, kind), count(roots, gradientKind)], [0, 1]);
  });

  Deno.test(`simplify: ${kind} whose gradient depends on its value stays apart`, () => {
    const [hidden, head] = [f32("hidden", [6, 4]), f32("head", [9, 4])];
    const losses = build(hidden, head);
    const loss = g.meanAll(g.mul(losses, losses));
    const roots = simplify([loss, ...gradients(loss, [hidden, head])]);
    assertEquals([count(roots, kind), count(roots, gradientKind)], [1, 1]);
  });
}

Deno.test("simplify: of two losses, one weighted by the other, one is shared", () => {
  const [hidden, head, other] = [f32("hidden", [6, 4]), f32("head", [9, 4]), f32("other", [6, 4])];
  const targets = g.input("targets", [6], "i32");
  const [first, second] = [hidden, other].map((h) => g.crossEntropy(h, head, targets));
  const loss = g.add(g.meanAll(first), g.meanAll(g.mul(g.exp(first), second)));
  const roots = simplify([loss, ...gradients(loss, [hidden, other])]);
  // The gradient of the first needs the value of both: only the second loss is shared.
  assertEquals([count(roots, "cross_entropy"), count(roots, "cross_entropy_gradient")], [1, 2]);
});
