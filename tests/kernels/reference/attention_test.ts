import { assertEquals, assertThrows } from "@std/assert";
import * as g from "../../../graph/build.ts";
import { outputsOf } from "../../../graph/rewrite.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import { evaluate } from "../../../kernels/reference.ts";
import { assertClose } from "../../support/compare.ts";
import { caseGraph, caseValues, opCase, real } from "../../support/op_case.ts";
import { EXACT, f32, i32, values } from "./values.ts";

Deno.test("attention by hand", () => {
  const [q, k, v] = ["q", "k", "v"].map((name) => f32(name, [1, 2, 1, 1]));
  const data = { q: [1, 1], k: [0, Math.log(3)], v: [8, 4] };
  const [y, norms] = outputsOf(g.attention(q, k, v, 1).node);
  // The second token's weights are 1/4 and 3/4.
  assertClose("y", values(y, data), [8, 5], EXACT);
  assertClose("log-sum-exp", values(norms, data), [0, Math.log(4)], EXACT);
});

Deno.test("attention of a window by hand: each token sees itself and the one before", () => {
  const [q, k, v] = ["q", "k", "v"].map((name) => f32(name, [1, 4, 1, 1]));
  const ln3 = Math.log(3);
  const data = { q: [1, 1, 1, 1], k: [50, 0, ln3, 0], v: [9, 8, 4, 0] };
  const [y, norms] = outputsOf(g.attention(q, k, v, 1, 2).node);
  // The first key outweighs all that see it; then 1/4 and 3/4, 3/4 and 1/4.
  assertClose("y", values(y, data), [9, 9, 5, 3], EXACT);
  assertClose("log-sum-exp", values(norms, data), [50, 50, Math.log(4), Math.log(4)], EXACT);
  assertThrows(() => g.attention(q, k, v, 1, 0), Error, "window");
  const cache = f32("cache", [1, 1, 3, 1]);
  const start = i32("start", [1]);
  assertThrows(
    () => g.cachedAttention(q, k, v, cache, cache, start, 1, 2),
    Error,
    "at most 2 rows",
  );
});

Deno.test("attention over a ring of a window, in parts, is windowed attention over the whole", () => {
  const [batch, time, width, window] = [2, 11, 4, 3];
  const row = (heads: number) => real([batch, time, heads, width], -2, 2);
  const both = opCase("both", { q: row(4), k: row(2), v: row(2) }, ({ q, k, v }) => {
    const empty = g.constant(7, [batch, 2, window, width]);
    let caches = { keys: empty, values: empty };
    const outputs = [[0, 2], [2, 3], [3, 8], [8, 11]].map(([begin, end]) => {
      const [a, b, c] = [q, k, v].map((t) => g.slice(t, 1, begin, end));
      const start = g.input(`start ${begin}`, [batch], "i32");
      const { keys, values } = caches;
      const step = g.cachedAttention(a, b, c, keys, values, start, 0.5, window);
      caches = step;
      return step.output;
    });
    return [g.concat(outputs, 1), g.attention(q, k, v, 0.5, window)];
  });
  const starts = Object.fromEntries(
    [0, 2, 3, 8].map((begin) => [`start ${begin}`, { data: [begin, begin] }]),
  );
  const [parts, whole] = evaluate(caseGraph(both).outputs, { ...caseValues(both), ...starts });
  assertClose("y", parts, whole, EXACT);
});

Deno.test("attention is what primitives make of it, for grouped heads", () => {
  const [batch, time, heads, kvHeads, width] = [2, 9, 6, 2, 8];
  const row = (n: number) => real([batch, time, n, width], -2, 2);
  const both = opCase(
    "both",
    { q: row(heads), k: row(kvHeads), v: row(kvHeads) },
    ({ q, k, v }) => {
      const repeated = (t: Tensor) => {
        const one = g.reshape(t, [batch, time, kvHeads, 1, width]);
        const all = g.expand(one, [batch, time, kvHeads, heads / kvHeads, width]);
        return g.permute(g.reshape(all, [batch, time, heads, width]), [0, 2, 1, 3]);
      };
      const scores = g.mul(
        g.matmul(g.permute(q, [0, 2, 1, 3]), repeated(k), { transposeB: true }),
        0.3,
      );
      const column = g.iota([time, time]);
      const later = g.expand(g.less(g.permute(column, [1, 0]), column), scores.shape);
      const powers = g.exp(g.select(later, -Infinity, scores));
      const total = g.sum(powers, [-1]);
      const mixed = g.permute(g.matmul(g.div(powers, total), repeated(v)), [0, 2, 1, 3]);
      return [...outputsOf(g.attention(q, k, v, 0.3).node), mixed, g.log(total)];
    },
  );
  const [y, norms, mixed, logTotal] = evaluate(caseGraph(both).outputs, caseValues(both));
  assertClose("y", y, mixed, EXACT);
  assertClose("log-sum-exp", norms, logTotal, EXACT);
});

Deno.test("attention over a cache, in parts, is attention over the whole", () => {
  const [batch, time, width, capacity] = [2, 7, 4, 9];
  const row = (heads: number) => real([batch, time, heads, width], -2, 2);
  const both = opCase("both", { q: row(4), k: row(2), v: row(2) }, ({ q, k, v }) => {
    const parts = [[0, 3], [3, 4], [4, 7]];
    const empty = g.constant(7, [batch, 2, capacity, width]);
    let caches = { keys: empty, values: empty };
    const outputs = parts.map(([begin, end]) => {
      const [a, b, c] = [q, k, v].map((t) => g.slice(t, 1, begin, end));
      const start = i32(`start ${begin}`, [batch]);
      const step = g.cachedAttention(a, b, c, caches.keys, caches.values, start, 0.5);
      caches = step;
      return step.output;
    });
    return [
      g.attention(q, k, v, 0.5),
      g.concat(outputs, 1),
      caches.keys,
      g.permute(k, [0, 2, 1, 3]),
    ];
  });
  const starts = Object.fromEntries([0, 3, 4].map((at) => [`start ${at}`, { data: [at, at] }]));
  const results = evaluate(caseGraph(both).outputs, { ...caseValues(both), ...starts });
  assertClose("y", results[1], results[0], EXACT);
  const rows = (data: Float64Array, from: number) =>
    Array.from(data.slice(from, from + time * width));
  assertEquals(rows(results[2], 0), rows(results[3], 0));
  assertEquals(rows(results[2], capacity * width), rows(results[3], time * width));
  assertEquals(results[2][time * width], 7, "rows after the last token stay");
});
