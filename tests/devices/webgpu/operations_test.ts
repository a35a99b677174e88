/** Every operation on the WebGPU device, within the tolerance of the CPU. */

import { assertCases, TOLERANCE } from "../../support/device_case.ts";
import { withWebgpu } from "../../support/devices.ts";
import { withGradients } from "../../support/op_case.ts";
import { opCases } from "../../support/op_cases.ts";
import { randomGraph } from "../../support/random_graph.ts";

Deno.test("webgpu: every operation is what the reference says", async () => {
  await withWebgpu((device) => assertCases(device, opCases));
});

Deno.test("webgpu: operations are the same to a GPU without subgroups", async () => {
  const some = opCases.filter((_, i) => i % 8 === 0);
  await withWebgpu((device) => assertCases(device, some), { subgroups: false });
});

Deno.test("webgpu: random graphs, fused and scheduled, are what the reference says", async () => {
  // A driver in software takes a while to compile each kernel.
  const seeds = Array.from({ length: 12 }, (_, seed) => seed);
  const graphs = seeds.map((seed) => randomGraph(seed, { steps: 12 + seed % 30 }));
  const smooth = seeds.map((seed) =>
    withGradients(randomGraph(seed, { steps: 12 + seed % 30, smooth: true }))
  );
  // Forty steps, one after another, add up what each of them rounds.
  const tolerance = 5 * TOLERANCE;
  await withWebgpu((device) => assertCases(device, [...graphs, ...smooth], tolerance));
});
