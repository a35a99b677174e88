/** The reference, and gradients computed by it, against values from PyTorch. */

import * as g from "../../graph/build.ts";
import { gradients, vectorJacobian } from "../../graph/gradient.ts";
import type { Shape, Tensor } from "../../graph/tensor.ts";
import { evaluate } from "../../kernels/reference.ts";
import { assertClose } from "../support/compare.ts";
import { readTensors } from "../support/safetensors.ts";
import { sharedPath } from "../support/shared.ts";

/** The golden values are f32; computed in f64 the rest is their own rounding. */
const OUTPUT_TOLERANCE = 1e-6;
const GRADIENT_TOLERANCE = 2e-6;

type Stored = Readonly<Record<string, { readonly shape: Shape; readonly data: Numbers }>>;
type Numbers = ArrayLike<number>;

const golden = (name: string): Promise<Stored> =>
  readTensors(sharedPath("golden", `${name}.safetensors`));

/** Inputs of the graph for every stored `in.` and `param.` tensor. */
function inputsOf(stored: Stored): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(stored)
      .filter(([name]) => /^(in|param)\./.test(name))
      .map(([name, { shape }]) => [name, g.input(name, shape)]),
  );
}

/** Compares outputs, and gradients by the stored cotangents of all outputs at once. */
function check(
  stored: Stored,
  inputs: Record<string, Tensor>,
  outputs: Record<string, Tensor>,
  wrt = Object.keys(inputs),
): void {
  const cotangents = Object.entries(outputs).map(([name, of]) => ({
    of,
    gradient: g.input(`cotangent.${name}`, of.shape),
  }));
  const derived = vectorJacobian(cotangents, wrt.map((name) => inputs[name]));
  const names = Object.keys(outputs);
  const values = evaluate([...Object.values(outputs), ...derived], stored);
  names.forEach((name, i) =>
    assertClose(name, values[i], stored[`out.${name}`].data, OUTPUT_TOLERANCE)
  );
  wrt.forEach((name, i) => {
    const expected = stored[`grad.${name}`].data;
    assertClose(`grad.${name}`, values[names.length + i], expected, GRADIENT_TOLERANCE);
  });
}

Deno.test("golden: wkv6", async () => {
  const stored = await golden("wkv6");
  const inputs = inputsOf(stored);
  const [r, w, k, v] = ["r", "w", "k", "v"].map((n) => inputs[`in.${n}`]);
  const { y, state } = g.wkv6({ r, w, k, v }, inputs["in.state"]);
  check(stored, inputs, { y, state });
});

Deno.test("golden: wkv7", async () => {
  const stored = await golden("wkv7");
  const inputs = inputsOf(stored);
  const [r, w, k, v, kappa, a] = ["r", "w", "k", "v", "kappa", "a"].map((n) => inputs[`in.${n}`]);
  const { y, state } = g.wkv7({ r, w, k, v, kappa, a }, inputs["in.state"]);
  check(stored, inputs, { y, state });
});

/** log softmax over the last axis. */
function logSoftmax(x: Tensor): Tensor {
  const top = g.largest(x, [-1]);
  return g.sub(g.sub(x, top), g.log(g.sum(g.exp(g.sub(x, top)), [-1])));
}

Deno.test("golden: kl_loss by primitives", async () => {
  const stored = await golden("kl_loss");
  const inputs = inputsOf(stored);
  const [logP, logQ] = [inputs["in.teacher"], inputs["in.student"]].map(logSoftmax);
  const loss = g.meanAll(g.sum(g.mul(g.exp(logP), g.sub(logP, logQ)), [-1]));
  check(stored, inputs, { loss });
});

Deno.test("golden: kl_loss by the head's operation, with an identity head", async () => {
  const stored = await golden("kl_loss");
  const inputs = inputsOf(stored);
  const vocabulary = stored["in.student"].shape[2];
  const [teacher, student] = [inputs["in.teacher"], inputs["in.student"]].map((logits) =>
    g.reshape(logits, [42, vocabulary])
  );
  const row = g.iota([vocabulary, vocabulary]);
  const head = g.equal(row, g.permute(row, [1, 0]));
  const loss = g.meanAll(g.klDivergence(student, head, teacher, head));
  check(stored, inputs, { loss }, ["in.student"]);
});

Deno.test("golden: stage1_loss by primitives", async () => {
  const stored = await golden("stage1_loss");
  const inputs = inputsOf(stored);
  const apart = g.sub(inputs["in.teacher"], inputs["in.student"]);
  const norm = g.sqrt(g.sum(g.mul(apart, apart), [-1]));
  const loss = g.mul(g.meanAll(norm), stored["in.teacher"].shape[3] ** -0.5);
  check(stored, inputs, { loss });
});

Deno.test("golden: gradients of a scalar", async () => {
  const stored = await golden("stage1_loss");
  const inputs = inputsOf(stored);
  const apart = g.sub(inputs["in.teacher"], inputs["in.student"]);
  const loss = g.meanAll(g.sqrt(g.sum(g.mul(apart, apart), [-1])));
  const scaled = g.mul(loss, stored["in.teacher"].shape[3] ** -0.5);
  const [found] = evaluate(gradients(scaled, [inputs["in.student"]]), stored);
  // The stored gradient is that of the cotangent.
  const cotangent = stored["cotangent.loss"].data[0];
  const expected = Array.from(stored["grad.in.student"].data, (x) => x / cotangent);
  assertClose("grad.in.student", found, expected, GRADIENT_TOLERANCE);
});

Deno.test("golden: qwen2_attention by linear, rotary and attention", async () => {
  const stored = await golden("qwen2_attention");
  const inputs = inputsOf(stored);
  const [batch, time, hidden] = stored["in.x"].shape;
  const [heads, width, theta] = [4, 8, 10000];
  const angles = Float64Array.from({ length: time * width / 2 }, (_, i) => {
    const [position, pair] = [Math.floor(i / (width / 2)), i % (width / 2)];
    return position * theta ** (-2 * pair / width);
  });
  const [cosine, sine] = ["cosine", "sine"].map((n) => g.input(n, [1, time, width / 2]));
  const project = (name: string) => {
    const [weight, bias] = [inputs[`param.${name}.weight`], inputs[`param.${name}.bias`]];
    const y = g.linear(inputs["in.x"], weight, bias);
    return g.reshape(y, [batch, time, y.shape[2] / width, width]);
  };
  const q = g.rotary(project("q_proj"), cosine, sine);
  const k = g.rotary(project("k_proj"), cosine, sine);
  const mixed = g.attention(q, k, project("v_proj"), width ** -0.5);
  const flat = g.reshape(mixed, [batch, time, heads * width]);
  const y = g.reshape(g.linear(flat, inputs["param.o_proj.weight"]), [batch, time, hidden]);
  const table = (of: (x: number) => number) => ({ shape: cosine.shape, data: angles.map(of) });
  const all = { ...stored, cosine: table(Math.cos), sine: table(Math.sin) };
  check(all, inputs, { y });
});
