import { assert, assertEquals } from "@std/assert";
import * as g from "../../graph/build.ts";
import { gradients } from "../../graph/gradient.ts";
import { schedule } from "../../graph/schedule.ts";
import { size, type Tensor } from "../../graph/tensor.ts";

const stepsOf = (wanted: readonly Tensor[]) =>
  schedule(wanted, { epilogues: false, folds: true, accumulates: true }).steps;

/** Elements that column reductions read. */
const readByColumns = (wanted: readonly Tensor[]) =>
  stepsOf(wanted).flatMap(({ work, reads }) =>
    work.kind === "columns" ? reads.map(({ shape }) => size(shape)) : []
  );

const folds = (wanted: readonly Tensor[]) =>
  stepsOf(wanted).flatMap(({ work }) => work.kind === "loop" ? work.body.folds ?? [] : []);

Deno.test("folds: the gradients of a norm's weight and bias are summed where its input's is made", () => {
  const x = g.linear(g.input("x", [256, 32]), g.input("v", [32, 32]));
  const [weight, bias] = [g.input("weight", [4, 8]), g.input("bias", [4, 8])];
  const y = g.groupNorm(g.reshape(x, [256, 4, 8]), weight, bias, 1e-5);
  const out = g.linear(g.reshape(y, [256, 32]), g.input("w", [32, 32]));
  const wanted = gradients(g.meanAll(g.mul(out, out)), [weight, bias, g.input("v", [32, 32])]);
  assertEquals(folds(wanted).map(({ columns }) => columns), [32, 32]);
  // 8 blocks of 32 sums each, no tensor of 256 rows.
  assertEquals(readByColumns(wanted), [8 * 32, 8 * 32]);
});

Deno.test("folds: what was stored only to be summed is not stored", () => {
  const [x, y] = [g.input("x", [512, 8]), g.input("y", [512, 8])];
  // Too much for a column reduction to compute by itself.
  const made = g.tanh(g.exp(g.sigmoid(g.tanh(g.mul(x, y)))));
  const steps = stepsOf([g.sum(made, [0])]);
  assert(steps.every(({ writes }) => writes.every(({ shape }) => shape[0] < 512)));
  assertEquals(steps.map(({ work }) => work.kind), ["loop", "columns"]);
});

Deno.test("folds: rows that no block divides, largest values and inner axes stay column reductions", () => {
  const of = (shape: readonly number[], axis: number) => [g.sum(g.input("x", shape), [axis])];
  assertEquals(folds(of([127, 8], 0)), []);
  assertEquals(folds(of([6, 8], 0)), []);
  assertEquals(folds(of([64, 8, 8], 1)), []);
  assertEquals(folds([g.largest(g.input("x", [128, 8]), [0])]), []);
});

Deno.test("folds: a schedule without them has the column reductions", () => {
  const sum = g.sum(g.exp(g.input("x", [128, 8])), [0]);
  const { steps } = schedule([sum], { epilogues: false, folds: false, accumulates: false });
  assert(steps.every(({ work }) => work.kind !== "loop" || work.body.folds === undefined));
});

Deno.test("folds: a sum that the loop itself comes to need stays outside it", () => {
  const x = g.input("x", [128, 8]);
  const centred = g.sub(x, g.sum(x, [0]));
  const steps = stepsOf([centred, g.sum(g.mul(centred, centred), [0])]);
  const order = steps.map(({ work }) => work.kind);
  assertEquals(order, ["loop", "columns", "loop", "columns"]);
});
