import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { launchesOf } from "../../devices/null.ts";
import { align, distill, finetune, type Stage } from "../../dsl/stages.ts";
import type { MixerSpec, ModelSpec } from "../../models/config.ts";
import type { CountedKernel, KernelKind } from "../../plan/roofline.ts";
import { stageGraph } from "../../train/stage_graph.ts";
import { stageKernels } from "../../train/stage_kernels.ts";
import { ATTENTION, radRwkv6, radRwkv7, smallConfig } from "../support/model.ts";

const LAYERS = 7;
const model = (mixers: readonly MixerSpec[], vocabSize = 500): ModelSpec => ({
  config: smallConfig({ layers: mixers.length, vocabSize }),
  mixers,
});
const all = (mixer: MixerSpec) => model(Array<MixerSpec>(LAYERS).fill(mixer));
const HYBRID = model([ATTENTION, ...Array<MixerSpec>(LAYERS - 2).fill(radRwkv7()), ATTENTION]);
const TEACHER = all(ATTENTION);

const options = { tokens: 1e6, context: 32, batch: 8 };
const STAGES: Readonly<Record<string, Stage>> = {
  align: align(options),
  distill: distill(options),
  "distill, computed again": distill({ ...options, rematerialise: true }),
  finetune: finetune(options),
};

const total = (kernels: readonly CountedKernel[], of: (kernel: CountedKernel) => number) =>
  kernels.reduce((sum, kernel) => sum + kernel.launches * of(kernel), 0);

const COUNTED = {
  rwkv6: { student: all(radRwkv6()), names: ["distill", "finetune"] },
  rwkv7: { student: all(radRwkv7()), names: ["align", "distill, computed again"] },
};
for (const [what, { student, names }] of Object.entries(COUNTED)) {
  Deno.test(`stage kernels: counted from a few layers as from all, ${what}`, () => {
    for (const name of names) {
      const stage = STAGES[name];
      const kernels = stageKernels(stage, student, TEACHER, 2);
      const launches = launchesOf(stageGraph({ ...stage, batch: 4 }, student, TEACHER).results);
      const sum = (of: (launch: typeof launches[number]) => number) =>
        launches.reduce((n, launch) => n + of(launch), 0);
      const [flops, bytes] = [sum(({ flops }) => flops), sum(({ bytes }) => bytes)];
      assertAlmostEquals(total(kernels, (k) => k.flops) / flops, 1, 0.002, `FLOPs of ${name}`);
      assertAlmostEquals(total(kernels, (k) => k.bytes) / bytes, 1, 0.01, `bytes of ${name}`);
      assertAlmostEquals(total(kernels, () => 1) / launches.length, 1, 0.03, `launches of ${name}`);
    }
  });
}

Deno.test("stage kernels: kinds and units", () => {
  const kinds = (stage: Stage, student: ModelSpec) =>
    new Set(stageKernels(stage, student, TEACHER, 1).map(({ kind }) => kind));
  const every: KernelKind[] = ["products", "attention", "wkv", "pointwise", "head"];
  assertEquals(kinds(STAGES.distill, HYBRID), new Set(every));
  assertEquals(
    kinds(STAGES.finetune, all(radRwkv6())),
    new Set(every.filter((kind) => kind !== "attention")),
  );
  const kernels = stageKernels(STAGES.distill, HYBRID, TEACHER, 1);
  const units = (kind: KernelKind) =>
    new Set(kernels.filter((k) => k.kind === kind).map(({ unit }) => unit));
  assertEquals(units("products"), new Set(["matrix"] as const));
  assertEquals(units("attention"), new Set(["matrix"] as const));
  assertEquals(units("wkv"), new Set(["vector"] as const));
  assertEquals(units("head"), new Set(["matrix", "vector"] as const));
  // Both models' logits, forward; the student's gradients of what enters and of the head.
  const logits = kernels.filter((k) => k.kind === "head" && k.unit === "matrix");
  const { hiddenSize } = HYBRID.config;
  const products = total(logits, (k) => k.flops) / (8 * 32) / (2 * 500 * hiddenSize);
  assert(products >= 4 && products < 4.2, `${products} products with the head`);
});

Deno.test("stage kernels: a vocabulary of the size of something else is told from it", () => {
  const head = (vocabulary: number) => {
    const sized = (mixer: MixerSpec) => model([mixer, mixer], vocabulary);
    const kernels = stageKernels(STAGES.distill, sized(radRwkv7()), sized(ATTENTION), 1);
    return total(kernels.filter(({ kind }) => kind === "head"), (k) => k.flops);
  };
  // There are 256 tokens.
  assertAlmostEquals(head(256) / head(259), 1, 0.02);
});

Deno.test("stage kernels: a device has its share of a part of a batch", () => {
  const stage = distill({ ...options, batch: 12, accumulate: 2 });
  const student = all(radRwkv7());
  const products = (devices: number) => {
    const kernels = stageKernels(stage, student, TEACHER, devices);
    return total(kernels.filter(({ kind }) => kind === "products"), (k) => k.flops);
  };
  // Six sequences on four devices are two on some of them.
  assertAlmostEquals(products(4) / products(1), 2 / 6, 1e-3);
  assertEquals(products(4), products(3));
});
