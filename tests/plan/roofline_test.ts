import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { distill, finetune } from "../../dsl/stages.ts";
import type { StageSize } from "../../plan/budget.ts";
import { DEVICES, fleetOf } from "../../plan/fleets.ts";
import {
  type CountedKernel,
  isRated,
  matrixPeak,
  type RatedFleet,
  REACHED,
  stageRoofline,
} from "../../plan/roofline.ts";

const G = 1e9;
/** A device with round numbers. */
const FLEET: RatedFleet = {
  ...fleetOf("1x H100")!,
  row: {
    ...DEVICES[0],
    peak: { bf16: 200 * G, f32: 10 * G },
    products: { flops: 100 * G, from: "a test" },
    bandwidth: G,
    link: 0.5 * G,
    node: 4,
    network: 0.01 * G,
  },
};
const fleet = (devices: number): RatedFleet => ({ ...FLEET, devices });

/** 10 steps of 4 parts of 8 sequences of 16 tokens. */
const SIZE: StageSize = {
  stage: distill({ tokens: 10 * 32 * 16, context: 16, batch: 32, accumulate: 4 }),
  flops: 0,
  activations: { kept: 0, rematerialised: 0 },
  head: 0,
  trained: 1e6,
  frozen: 2e6,
  student: 3e6,
  teacher: 4e6,
  teacherBytes: 16e6,
  usesTeacher: true,
  largest: 0,
  layers: 1,
};
const PRODUCT: CountedKernel = {
  label: "matmul [8, 8]",
  kind: "products",
  unit: "matrix",
  launches: 2,
  flops: 400 * G,
  bytes: 4 * G,
};
const LOOP: CountedKernel = {
  label: "loop [8, 8]",
  kind: "pointwise",
  unit: "vector",
  launches: 1,
  flops: G,
  bytes: 4 * G,
};

const workOf = (kernels: readonly CountedKernel[], on: RatedFleet, size = SIZE) => {
  const roofline = stageRoofline(size, kernels, on);
  return { ...roofline, of: (kind: string) => roofline.work.find((w) => w.kind === kind) };
};

Deno.test("roofline: a kernel takes its operations or its bytes, in bf16, whichever is longer", () => {
  const { kernels, seconds, expected, of, bound } = workOf([PRODUCT, LOOP], fleet(1));
  assertEquals(kernels.map(({ seconds, bound }) => [seconds, bound]), [
    [4, "compute"],
    [2, "memory"],
  ]);
  // 40 parts; two products and a loop in each.
  assertEquals([of("products")!.seconds, of("pointwise")!.seconds], [40 * 8, 40 * 2]);
  assertEquals([of("products")!.bound, of("pointwise")!.bound], ["compute", "memory"]);
  assertEquals(bound, "compute");
  const tokens = 8 * 16;
  assertAlmostEquals(of("products")!.flopsPerToken, 2 * 400 * G / tokens);
  assertAlmostEquals(of("products")!.bytesPerToken, 2 * 2 * G / tokens);
  assertEquals(of("communication"), undefined);
  assertEquals([of("attention"), of("head")], [undefined, undefined]);
  assertAlmostEquals(seconds, 400 + of("optimizer")!.seconds);
  assertAlmostEquals(expected, seconds / REACHED.distill);
});

Deno.test("roofline: the optimizer moves weights and moments once a step, a share on each device", () => {
  const { of } = workOf([PRODUCT], fleet(4));
  const { seconds, flopsPerToken, bytesPerToken, bound } = of("optimizer")!;
  // Two moments and an f32 weight, and the bf16 weight, there and back; the gradient for its norm.
  assertAlmostEquals(seconds, 10 * (2 * (12 + 2) + 2) * 1e6 / 4 / G);
  assertAlmostEquals(bytesPerToken, 30 * 1e6 / (32 * 16));
  assertAlmostEquals(flopsPerToken, 18 * 1e6 / (32 * 16));
  assertEquals(bound, "memory");
});

Deno.test("roofline: weights are gathered over the link while kernels run", () => {
  // Student twice, teacher once, sums of gradients, three quarters of them from elsewhere.
  const received = 2 * (2 * 3e6 + 4e6 + 1e6) * 3 / 4;
  const busy = workOf([PRODUCT], fleet(4));
  assertAlmostEquals(busy.of("communication")!.seconds, 40 * received / (0.5 * G));
  // A part of a batch is 8 sequences, 2 on a device.
  assertAlmostEquals(busy.of("communication")!.bytesPerToken, 4 * received / (8 * 16));
  const update = busy.of("optimizer")!.seconds;
  assertAlmostEquals(busy.seconds, 320 + update);
  const idle = workOf([{ ...PRODUCT, flops: 1, bytes: 1 }], fleet(4));
  assertEquals(idle.bound, "link");
  assertAlmostEquals(idle.seconds, 40 * received / (0.5 * G) + update);
  const stage = finetune({ ...SIZE.stage });
  const alone = workOf([PRODUCT], fleet(4), { ...SIZE, stage, usesTeacher: false });
  const share = alone.of("communication")!.seconds / busy.of("communication")!.seconds;
  assertAlmostEquals(share, 7 / 11);
});

Deno.test("roofline: between machines the network decides, all of a machine's adapters together", () => {
  const whole = 2 * 11e6;
  const { of } = workOf([PRODUCT], fleet(8));
  assertAlmostEquals(of("communication")!.seconds, 40 * whole / 2 / (4 * 0.01 * G));
  // Machines of one device have no link.
  const single = { ...fleet(2), row: { ...FLEET.row, node: 1, link: 1 } };
  const between = workOf([PRODUCT], single).of("communication")!;
  assertAlmostEquals(between.seconds, 40 * whole / 2 / (0.01 * G));
});

Deno.test("roofline: products at what was measured, at the stated peak where nothing was", () => {
  assertEquals(matrixPeak(FLEET.row, "bf16"), 100 * G);
  assertEquals(matrixPeak({ ...FLEET.row, products: undefined }, "bf16"), 200 * G);
  assertEquals(matrixPeak(FLEET.row, "f32"), FLEET.row.peak.f32);
  assertEquals(matrixPeak(FLEET.row, "tf32"), FLEET.row.peak.f32);
  assertEquals(matrixPeak({ ...FLEET.row, tf32: 50 * G }, "tf32"), 50 * G);
  for (const row of DEVICES) {
    const numbers = ["f32", "tf32", "bf16"] as const;
    const [f32, tf32, bf16] = numbers.map((own) => matrixPeak(row, own));
    assert(f32 <= tf32 && tf32 <= bf16, row.name);
    assert(bf16 <= row.peak.bf16 && row.network <= row.link, row.name);
  }
  assert(isRated(FLEET) && !isRated({ ...FLEET, row: undefined }));
});
