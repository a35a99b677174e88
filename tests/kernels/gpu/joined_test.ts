/** Small steps that need nothing of one another, as one launch. */

import { assertEquals } from "@std/assert";
import { compute } from "../../../devices/compute.ts";
import * as g from "../../../graph/build.ts";
import { schedule } from "../../../graph/schedule.ts";
import { size, type Tensor } from "../../../graph/tensor.ts";
import { joining } from "../../../kernels/gpu/joined.ts";
import { GPU_SCHEDULING, gpuKernelsOf } from "../../../kernels/gpu/program.ts";
import { buildProgram } from "../../../kernels/program.ts";
import { evaluate } from "../../../kernels/reference.ts";
import { assertClose } from "../../support/compare.ts";
import { withCuda, withWebgpu } from "../../support/devices.ts";
import { random } from "../../support/random.ts";

const SHAPES = { x: [2, 40], a: [24, 40], b: [24, 40], c: [7, 40], d: [9, 24], e: [9, 24] };
const inputs = Object.fromEntries(
  Object.entries(SHAPES).map(([name, shape]) => [name, g.input(name, shape)]),
) as Readonly<Record<keyof typeof SHAPES, Tensor>>;

/** Two chains of products with norms between them, and a product that is needed last. */
function chains(): Tensor[] {
  const { x, a, b, c, d, e } = inputs;
  const scaled = (y: Tensor) => g.div(y, g.add(1, g.sum(g.mul(y, y), [-1])));
  const left = g.linear(scaled(g.silu(g.linear(x, a))), d);
  const right = g.linear(scaled(g.linear(x, b)), e);
  return [g.mul(g.tanh(g.mul(left, right)), g.sum(g.linear(x, c), [-1]))];
}

const labels = (results: readonly Tensor[], mostInputs = Infinity) =>
  buildProgram(schedule(results, GPU_SCHEDULING), gpuKernelsOf, joining(mostInputs))
    .launches.map(({ label }) => label);

Deno.test("joined kernels: what needs nothing of one another is one launch", () => {
  assertEquals(labels(chains()), [
    "joined [2, 24] [2, 24] [2, 7]",
    "joined [2, 24] [2, 24] [2, 1]",
    "matmul [2, 9]",
    "matmul+ [2, 9]",
  ]);
  assertEquals(labels(chains(), 3), [
    "joined [2, 24] [2, 24]",
    "joined [2, 7] [2, 24] [2, 24]",
    "joined [2, 1] [2, 9]",
    "matmul+ [2, 9]",
  ]);
  // What was asked for may share memory with what others still read: it stays where it is.
  const { x, a, b } = inputs;
  assertEquals(labels([g.linear(x, a), g.linear(x, b)]), ["matmul [2, 24]", "matmul [2, 24]"]);
});

for (const [name, withGpu] of Object.entries({ webgpu: withWebgpu, cuda: withCuda })) {
  Deno.test(`joined kernels: ${name} computes what the reference does`, async () => {
    const values = Object.entries(SHAPES).map(([name, shape], i) => {
      const source = random(i);
      return [name, new Float32Array(size(shape)).map(() => source.uniform(-1, 1))] as const;
    });
    const data = Object.fromEntries(values.map(([name, data]) => [name, { data }]));
    const [expected] = evaluate(chains(), data);
    const [found] = await withGpu((device) =>
      compute(device, chains(), Object.fromEntries(values))
    );
    assertClose("result", found, expected, 4e-6);
  });
}
