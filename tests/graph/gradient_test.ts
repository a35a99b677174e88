import { assertEquals, assertThrows } from "@std/assert";
import * as g from "../../graph/build.ts";
import { gradients, vectorJacobian } from "../../graph/gradient.ts";
import { outputsOf } from "../../graph/rewrite.ts";
import { type Tensor, topologicalOrder } from "../../graph/tensor.ts";
import { evaluate } from "../../kernels/reference.ts";
import { assertClose } from "../support/compare.ts";
import { checkGradients } from "../support/finite_differences.ts";
import { caseGraph, caseValues, opCase, real } from "../support/op_case.ts";
import { opCases } from "../support/op_cases.ts";
import { randomGraph } from "../support/random_graph.ts";

for (const original of opCases.filter(({ differentiable }) => differentiable.length > 0)) {
  Deno.test(`gradient: ${original.name}`, () => checkGradients(original));
}

Deno.test("gradient: random smooth graphs", () => {
  for (let seed = 1; seed <= 60; seed++) checkGradients(randomGraph(seed, { smooth: true }));
});

const x = g.input("x", [2, 3]);
const values = { x: { data: [1, -2, 0.5, 2, 2, -1] } };
const evaluated = (t: Tensor): number[] => Array.from(evaluate([t], values)[0]);
const total = (t: Tensor): Tensor => g.sum(g.reshape(t, [t.shape.reduce((a, b) => a * b)]), [0]);

Deno.test("gradient: of a scalar with respect to an input", () => {
  const [dx] = gradients(total(g.mul(x, x)), [x]);
  assertEquals(evaluated(dx), [2, -4, 1, 4, 4, -2]);
});

Deno.test("gradient: with respect to tensors on the way, once for all uses", () => {
  const y = g.mul(x, 3);
  const loss = g.add(total(y), total(g.mul(y, y)));
  const [dy, dx] = gradients(loss, [y, x]);
  assertEquals(evaluated(dy), [7, -11, 4, 13, 13, -5]);
  assertEquals(evaluated(dx), [21, -33, 12, 39, 39, -15]);
  const [itself] = gradients(loss, [loss]);
  assertEquals(evaluated(itself), [1]);
});

Deno.test("gradient: zero where there is no way, or none that differentiates", () => {
  const other = g.input("other", [4]);
  const loss = total(g.select(g.less(x, 0), 2, g.equal(x, 1)));
  const [dx, dOther] = gradients(loss, [x, other]);
  assertEquals(evaluated(dx), [0, 0, 0, 0, 0, 0]);
  assertEquals(evaluated(dOther), [0, 0, 0, 0]);
});

Deno.test("gradient: a largest value that ties is shared evenly", () => {
  const [dx] = gradients(total(g.largest(x, [1])), [x]);
  assertEquals(evaluated(dx), [1, 0, 0, 0.5, 0.5, 0]);
});

Deno.test("gradient: a minimum or maximum that ties is the first's", () => {
  const [a, b] = [g.mul(x, 1), g.mul(x, 1)];
  for (const fn of [g.minimum, g.maximum]) {
    const [da, db] = gradients(total(fn(a, b)), [a, b]);
    assertEquals([evaluated(da), evaluated(db)], [[1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]]);
  }
});

Deno.test("gradient: nothing is built for what needs no gradient", () => {
  const frozen = g.input("frozen", [5, 3]);
  const kinds = topologicalOrder(gradients(total(g.linear(x, frozen)), [x]));
  assertEquals(kinds.filter(({ op }) => op.kind === "matmul").length, 1);
});

Deno.test("gradient: several cotangents are one pass", () => {
  const [y, z] = [g.exp(x), g.mul(x, x)];
  const [dy, dz] = [g.input("dy", [2, 3]), g.input("dz", [2, 3])];
  const both = vectorJacobian([{ of: y, gradient: dy }, { of: z, gradient: dz }], [x]);
  const apart = [y, z].map((of, i) => vectorJacobian([{ of, gradient: [dy, dz][i] }], [x])[0]);
  const given = { ...values, dy: { data: [1, 2, 3, 4, 5, 6] }, dz: { data: [6, 5, 4, 3, 2, 1] } };
  const [found, expected] = evaluate([both[0], g.add(apart[0], apart[1])], given);
  assertClose("dx", found, expected, 1e-15);
});

/** A recurrence that tells its inputs by name. */
type Recurrence = (
  inputs: Readonly<Record<string, Tensor>>,
  state: Tensor,
) => { y: Tensor; state: Tensor };

const RECURRENCES: readonly (readonly [string, readonly string[], Recurrence])[] = [
  ["wkv6", ["r", "w", "k", "v"], ({ r, w, k, v }, state) => g.wkv6({ r, w, k, v }, state)],
  [
    "wkv7",
    ["r", "w", "k", "v", "kappa", "a"],
    ({ r, w, k, v, kappa, a }, state) => g.wkv7({ r, w, k, v, kappa, a }, state),
  ],
];

for (const [name, inputs, recurrence] of RECURRENCES) {
  Deno.test(`gradient: of ${name} in two parts is that of the whole`, () => {
    const row = real([1, 20, 2, 4], -0.7, 0.7);
    const decay = real(row.shape, 0, 1);
    const rows = inputs.map((key) => [key, key === "w" || key === "a" ? decay : row] as const);
    const both = opCase(
      "both",
      {
        ...Object.fromEntries(rows),
        ...{ state: real([1, 2, 4, 4]), dy: row, dLast: real([1, 2, 4, 4]) },
      },
      ({ state, dy, dLast, ...rest }) => {
        const wrt = [...Object.values<Tensor>(rest), state];
        const whole = recurrence(rest, state);
        const part = (begin: number, end: number) =>
          Object.fromEntries(
            Object.entries<Tensor>(rest).map(([key, t]) => [key, g.slice(t, 1, begin, end)]),
          );
        const first = recurrence(part(0, 7), state);
        const second = recurrence(part(7, 20), first.state);
        return [[whole.y, whole.state], [g.concat([first.y, second.y], 1), second.state]]
          .flatMap(([y, last]) =>
            vectorJacobian([{ of: y, gradient: dy }, { of: last, gradient: dLast }], wrt)
          );
      },
    );
    const results = evaluate(caseGraph(both).outputs, caseValues(both));
    const half = results.length / 2;
    for (let i = 0; i < half; i++) {
      assertClose(`gradient ${i}`, results[i], results[i + half], 1e-13);
    }
  });
}

Deno.test("gradient: at a bound it passes, as through torch.clamp", () => {
  const at = g.input("at", [3]);
  const bounded = (t: Tensor) => gradients(g.sum(t, [0]), [at])[0];
  const found = evaluate([bounded(g.maximum(at, -5)), bounded(g.minimum(at, -5))], {
    at: { data: [-6, -5, -4] },
  });
  assertEquals(found.map((row) => [...row]), [[0, 1, 1], [1, 1, 0]]);
});

Deno.test("gradient: errors say what has no gradient", () => {
  assertThrows(() => gradients(x, [x]), Error, "gradients: expected a scalar: input x [2, 3]");
  assertThrows(
    () => vectorJacobian([{ of: x, gradient: g.constant(1, [3]) }], [x]),
    Error,
    "gradients: input x [2, 3]: found a cotangent constant [3]",
  );
  const [q, angle] = [g.input("q", [1, 2, 1, 4]), g.input("angle", [1, 2, 2])];
  assertThrows(
    () => gradients(total(g.rotary(q, angle, angle)), [angle]),
    Error,
    "angles of a rotary are fixed",
  );
  const [, norms] = outputsOf(g.attention(q, q, q, 1).node);
  assertThrows(() => gradients(total(norms), [q]), Error, "log-sum-exp is not differentiated");
  const state = g.input("state", [1, 1, 4, 4]);
  const { y } = g.wkv7({ r: q, w: q, k: q, v: q, kappa: q, a: q }, state);
  const [, , chunks] = outputsOf(y.node);
  assertThrows(() => gradients(total(chunks), [q]), Error, "chunk states are not differentiated");
  const [hidden, head] = [g.input("hidden", [5, 3]), g.input("head", [7, 3])];
  assertThrows(
    () => gradients(total(g.klDivergence(hidden, head, hidden, head)), [head]),
    Error,
    "teacher's side of a KL is fixed",
  );
  const cache = g.input("cache", [1, 1, 3, 4]);
  const start = g.input("start", [1], "i32");
  const { output } = g.cachedAttention(q, q, q, cache, cache, start, 1);
  assertThrows(
    () => gradients(total(output), [q]),
    Error,
    "cached_attention is not differentiated",
  );
});
