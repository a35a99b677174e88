import { assert, assertEquals } from "@std/assert";
import * as g from "../../graph/build.ts";
import {
  decompose,
  decomposeBy,
  LOGITS_BLOCK_BYTES,
  logitsBlock,
} from "../../graph/decomposition.ts";
import { rewrite } from "../../graph/rewrite.ts";
import { type OpKind, type Tensor, topologicalOrder } from "../../graph/tensor.ts";
import { evaluate } from "../../kernels/reference.ts";
import { assertClose } from "../support/compare.ts";
import { caseGraph, caseValues } from "../support/op_case.ts";
import { gradientCases, opCases } from "../support/op_cases.ts";

/** What is left to the rules that write composites out. */
const composites: readonly OpKind[] = [
  "rms_norm",
  "group_norm",
  "rotary",
  "pad",
  "cross_entropy",
  "cross_entropy_gradient",
  "kl_divergence",
  "kl_divergence_gradient",
];

/** Cancellation in losses and norms costs up to three of f64's sixteen digits. */
const TOLERANCE = 1e-12;

const kindsOf = (roots: readonly Tensor[]): OpKind[] =>
  topologicalOrder(roots).map(({ op }) => op.kind);

for (const each of [...opCases, ...gradientCases]) {
  const { outputs } = caseGraph(each);
  const found = kindsOf(outputs);
  if (!composites.some((kind) => found.includes(kind))) continue;
  Deno.test(`decompose: ${each.name}`, () => {
    const values = caseValues(each);
    const expected = evaluate(outputs, values);
    // Blocks of 4 tokens divide some of the cases and leave a rest in others.
    for (const rule of [decompose, decomposeBy(() => 4), decomposeBy(() => 1)]) {
      const written = rewrite(outputs, rule);
      assertEquals(kindsOf(written).filter((kind) => composites.includes(kind)), []);
      assertEquals(written.map(({ shape }) => shape), outputs.map(({ shape }) => shape));
      evaluate(written, values).forEach((data, i) =>
        assertClose(`output ${i}`, data, expected[i], TOLERANCE)
      );
    }
  });
}

Deno.test("decompose: logits are only held for a block of tokens", () => {
  const [tokens, width, vocabulary] = [10, 3, 7];
  const loss = g.crossEntropy(
    g.input("hidden", [tokens, width]),
    g.input("head", [vocabulary, width]),
    g.input("targets", [tokens], "i32"),
  );
  const rows = topologicalOrder(rewrite([loss], decomposeBy(() => 4)))
    .filter(({ op }) => op.kind === "matmul")
    .map(({ outputs }) => outputs[0].shape);
  assertEquals(rows, [[4, vocabulary], [4, vocabulary], [2, vocabulary]]);
});

Deno.test("decompose: a block of logits fits the limit, or is the least that is worth it", () => {
  assertEquals(logitsBlock(10, 2048, 128), 10);
  assertEquals(logitsBlock(2048, 151936, 896), 256);
  assertEquals(logitsBlock(2048, 152064, 3584), 256);
  assertEquals(logitsBlock(4096, 2048, 128), 4096);
  for (const vocabulary of [4099, 32000, 49152, 151936, 256000]) {
    const block = logitsBlock(2 ** 20, vocabulary, 64);
    assertEquals(block % 16, 0);
    assert(block >= 64);
    assert(block === 64 || block * vocabulary * 4 <= LOGITS_BLOCK_BYTES);
    assert((block + 16) * vocabulary * 4 > LOGITS_BLOCK_BYTES);
  }
});
