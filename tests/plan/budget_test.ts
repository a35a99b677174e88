import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { align, distill } from "../../dsl/stages.ts";
import { stageBudget, type StageSize } from "../../plan/budget.ts";
import type { Fleet } from "../../plan/fleets.ts";

const GB = 1e9;
const FLEET: Fleet = {
  name: "4x device",
  devices: 4,
  computes: "bf16",
  speed: { align: 1e12, distill: 1e12, finetune: 1e12, pretrain: 1e12 },
  bandwidth: 1e12,
  memory: 8 * GB,
  price: 2,
  holdsModels: false,
};
const OPTIONS = { tokens: 100 * 8 * 16, context: 16, batch: 8 };
const SIZE: StageSize = {
  stage: distill(OPTIONS),
  flops: 3e12,
  activations: { kept: 4 * GB, rematerialised: 1 * GB },
  head: 0.5 * GB,
  trained: 1 * GB,
  frozen: 0,
  student: 1 * GB,
  teacher: 2 * GB,
  teacherBytes: 5 * GB,
  usesTeacher: true,
  largest: 0.1 * GB,
  layers: 10,
};

Deno.test("budget: memory of a device in bf16, sharded over four", () => {
  const { memory, fits } = stageBudget(SIZE, FLEET);
  assertEquals(memory.weights, 2 * (1 + 2) * GB / 4);
  assertEquals(memory.gradients, 2 * GB / 4);
  // An f32 weight and two moments.
  assertEquals(memory.optimizer, 12 * GB / 4);
  // Two sequences a device and the head once, half as wide as f32.
  assertEquals(memory.kept, 4.25 * GB);
  assertEquals(memory.rematerialised, 1.25 * GB);
  assertEquals(memory.activations, memory.kept);
  assertAlmostEquals(memory.gathered, 0.4 * GB);
  const { weights, gradients, optimizer, activations, gathered, process } = memory;
  assertAlmostEquals(memory.total, weights + gradients + optimizer + activations + gathered);
  assertEquals(process, 0);
  assertEquals(fits, false);
});

Deno.test("budget: this machine holds both models beside what it trains, in f32", () => {
  const here: Fleet = { ...FLEET, devices: 1, computes: "f32", holdsModels: true, memory: 1e12 };
  const { memory, fits } = stageBudget({ ...SIZE, usesTeacher: false }, here);
  // The teacher is as it is kept.
  assertEquals(memory.weights, (4 * (1 + 1) + 5) * GB);
  assert(memory.process > 0.1 * GB && memory.process < 0.3 * GB);
  assertEquals([memory.gradients, memory.optimizer, memory.gathered], [4 * GB, 8 * GB, 0]);
  assertEquals(memory.kept, (8 * 4 + 0.5) * GB);
  const { weights, gradients, optimizer, activations, process } = memory;
  assertAlmostEquals(memory.total, weights + gradients + optimizer + activations + process);
  assert(fits);
});

Deno.test("budget: layer by layer there is one layer, and both models beside it or not", () => {
  const here: Fleet = { ...FLEET, devices: 1, computes: "f32", holdsModels: true, memory: 8 * GB };
  const streamed = { trained: 0.1 * GB, frozen: 0.3 * GB, activations: 0.05 * GB, alone: true };
  const size = { ...SIZE, stage: align(OPTIONS), head: 0 };
  const { memory, fits } = stageBudget({ ...size, streamed }, here);
  assertEquals([memory.weights, memory.gradients, memory.optimizer].map(Math.round), [
    1.6 * GB,
    0.4 * GB,
    0.8 * GB,
  ]);
  assertAlmostEquals(memory.activations, 8 * 0.05 * GB);
  assert(fits);
  const beside = stageBudget({ ...size, streamed: { ...streamed, alone: false } }, here);
  // The teacher is as it is kept.
  assertAlmostEquals(beside.memory.total - memory.total, (4 * 1 + 5) * GB);
  assertMatch(stageBudget(size, here).advice!, /^streamed: true, in a recipe of its own/);
});

Deno.test("budget: time and money; devices wait for those with a sequence more", () => {
  const { flops, seconds, dollars, bandwidthBound } = stageBudget(SIZE, FLEET);
  assertEquals(flops, 100 * 8 * 3e12);
  assertEquals([seconds, bandwidthBound], [100 * 2 * 3, false]);
  assertAlmostEquals(dollars, 600 / 3600 * 4 * 2);
  const five = stageBudget(SIZE, { ...FLEET, devices: 5 });
  assertEquals(five.seconds, seconds, "a fifth device has nothing to do with batches of 8");
  // 8 parts of one sequence: three of four devices have nothing to do.
  const stage = distill({ ...OPTIONS, accumulate: 8 });
  assertEquals(stageBudget({ ...SIZE, stage }, FLEET).seconds, 4 * seconds);
});

Deno.test("budget: where computing is little, the memory's bandwidth decides", () => {
  const { seconds, bandwidthBound } = stageBudget({ ...SIZE, flops: 1 }, FLEET);
  // Forward, backward for inputs and for weights of 1 G, forward of 2 G; then the optimizer.
  const step = 2 * (3 + 2) * GB + 2 * (12 + 2) * GB / 4;
  assertAlmostEquals(seconds, 100 * step / 1e12);
  assert(bandwidthBound);
});

Deno.test("budget: advice names the cheapest knob that makes a stage fit", () => {
  const advice = (size: Partial<StageSize>, memory: number) => {
    const budget = stageBudget({ ...SIZE, ...size }, { ...FLEET, memory: memory * GB });
    assertEquals(budget.fits, budget.advice === undefined);
    return budget.advice ?? "fits";
  };
  assertEquals(advice({}, 10), "fits");
  assertEquals(advice({}, 7), "rematerialise: true makes it fit");
  const kept = { kept: 4 * GB, rematerialised: 4 * GB };
  assertEquals(advice({ activations: kept }, 8), "accumulate: 2 makes it fit");
  const both = "accumulate: 2 with rematerialise: true makes it fit";
  assertEquals(advice({}, 6.5), both);
  assertMatch(advice({}, 5), /^it needs 8 of these devices, with rematerialise: true/);
  assertMatch(advice({}, 0.1), /^it does not fit with any batch: use a fleet with more memory/);
  const stage = align(OPTIONS);
  assertEquals(advice({ stage }, 8), "accumulate: 2 makes it fit");
});
