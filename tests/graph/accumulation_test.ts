import { assert, assertEquals } from "@std/assert";
import { accumulateProducts } from "../../graph/accumulation.ts";
import * as g from "../../graph/build.ts";
import { planMemory } from "../../graph/memory.ts";
import { schedule } from "../../graph/schedule.ts";
import { type Tensor, topologicalOrder } from "../../graph/tensor.ts";
import { caseGraph } from "../support/op_case.ts";
import { randomGraph } from "../support/random_graph.ts";

const options = { epilogues: false, folds: true, accumulates: true };
const x = (name: string) => g.input(name, [64, 64]);
const product = (name: string) => g.linear(x(name), x(`${name}\'`));

/** Products with something that they are added to. */
const accumulating = (roots: readonly Tensor[]) =>
  topologicalOrder(accumulateProducts(roots))
    .filter(({ op, inputs }) => op.kind === "matmul" && inputs.length === 3).length;

Deno.test("accumulate: a sum of products is added up in the result's memory", () => {
  const sum = ["a", "b", "c", "d"].map(product).reduce((a, b) => g.add(a, b));
  const made = schedule([sum], options);
  assertEquals(made.steps.map(({ work }) => work.kind), ["matmul", "matmul", "matmul", "matmul"]);
  const memory = planMemory(made);
  assertEquals(memory.arenaBytes, 0);
  for (const { writes } of made.steps) {
    assertEquals(memory.place(writes[0]), { kind: "root", index: 0 });
  }
});

Deno.test("accumulate: what is read elsewhere keeps its memory", () => {
  const [a, b] = [product("a"), product("b")];
  assertEquals(accumulating([g.add(a, b), g.tanh(a)]), 0);
  assertEquals(accumulating([g.add(a, b), a, b]), 0);
  assertEquals(accumulating([g.add(a, a)]), 0);
  assertEquals(accumulating([g.add(g.tanh(a), b)]), 0);
});

Deno.test("accumulate: a gradient that is added to an input is, where it is a result", () => {
  const [before, a] = [x("before"), product("a")];
  assertEquals(accumulating([g.add(before, a)]), 1);
  assertEquals(accumulating([g.tanh(g.add(before, a))]), 0);
});

Deno.test("accumulate: shapes between a product and its sum do not matter", () => {
  const shaped = (t: Tensor) => g.reshape(t, [4, 16, 64]);
  assertEquals(accumulating([g.add(shaped(product("a")), shaped(product("b")))]), 1);
});

Deno.test("accumulate: roots of random graphs keep their shapes", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const { outputs } = caseGraph(randomGraph(seed));
    const found = accumulateProducts(outputs);
    assert(found.every((t, i) => t.shape.join() === outputs[i].shape.join()));
  }
});
