import { assert, assertEquals } from "@std/assert";
import * as g from "../../graph/build.ts";
import { gradients } from "../../graph/gradient.ts";
import { schedule } from "../../graph/schedule.ts";
import type { Node, Tensor } from "../../graph/tensor.ts";
import { caseGraph } from "../support/op_case.ts";
import { randomGraph } from "../support/random_graph.ts";

/** What is stored, as operations and sizes. */
const stored = (wanted: readonly Tensor[]) =>
  schedule(wanted, { epilogues: false, folds: false, accumulates: false }).steps.flatMap((
    { work, writes },
  ) => work.kind === "loop" ? writes : []);

const weight = (name: string) => g.input(name, [64, 64]);

Deno.test("recompute: a gated product's gradient starts from the two products alone", () => {
  const x = g.input("x", [64, 64]);
  const [gate, up] = [g.linear(x, weight("gate")), g.linear(x, weight("up"))];
  const y = g.linear(g.mul(g.silu(gate), up), weight("down"));
  const loss = g.meanAll(g.mul(y, y));
  const large = stored([loss, ...gradients(loss, [x])]).filter(({ shape }) => shape[0] === 64);
  // silu·up, the gradients of y, gate, up and x: no sigmoid and nothing of it.
  assertEquals(large.length, 5);
});

Deno.test("recompute: what takes more than a store and a load is stored", () => {
  const x = g.linear(g.input("x", [64, 64]), weight("w"));
  const y = g.exp(g.tanh(g.exp(g.tanh(x))));
  const product = g.linear(g.mul(y, 2), weight("v"));
  const kept = stored([g.linear(g.mul(product, y), weight("u"))]);
  assert(kept.some(({ node }) => node.op.kind === "unary" && node.op.fn === "exp"));
});

Deno.test("recompute: a value of every row is stored, not computed for every element", () => {
  const x = g.linear(g.input("x", [64, 64]), weight("w"));
  const scale = g.reciprocal(g.sqrt(g.mean(g.mul(x, x), [-1])));
  const product = g.linear(g.mul(x, scale), weight("v"));
  const kept = stored([g.linear(g.mul(product, scale), weight("u"))]);
  assertEquals(
    kept.map(({ node }) => node.op).filter((op) => op.kind === "unary" && op.fn === "reciprocal")
      .length,
    1,
  );
});

Deno.test("recompute: whatever a step reads was written by one step before it, or is an input", () => {
  for (let seed = 1; seed <= 150; seed++) {
    const { outputs, inputs } = caseGraph(randomGraph(seed, { smooth: true }));
    const loss = outputs.map(g.meanAll).reduce((a, b) => g.add(a, b));
    const wanted = [...outputs, ...gradients(loss, Object.values(inputs))];
    for (const epilogues of [false, true]) {
      const { steps, roots, partOf } = schedule(wanted, {
        epilogues,
        folds: true,
        accumulates: true,
      });
      const written = new Map<Node, Set<number>>();
      const has = (t: Tensor) => written.get(t.node)?.has(t.output) ?? false;
      for (const step of steps) {
        for (const t of step.reads) {
          const parts = t.node.op.kind === "concat" ? t.node.inputs : [t];
          assert(t.node.op.kind === "input" || parts.every(has), `seed ${seed}`);
        }
        for (const t of step.writes) {
          assert(!has(t), `seed ${seed}: written twice`);
          written.set(t.node, (written.get(t.node) ?? new Set()).add(t.output));
        }
      }
      for (const root of roots) {
        const parts = root.node.op.kind === "concat" ? root.node.inputs : [root];
        assert(parts.every(has), `seed ${seed}`);
      }
      const wholes = [...partOf.values()].map(({ op }) => op.kind);
      assert(wholes.every((kind) => kind === "concat" || kind === "matmul"));
    }
  }
});
