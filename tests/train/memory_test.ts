import { assert, assertEquals } from "@std/assert";
import { createStore, layoutOf } from "../../devices/store.ts";
import { align, distill, finetune, type Stage } from "../../dsl/stages.ts";
import { keptParameters } from "../../infer/load.ts";
import type { MixerSpec, ModelSpec } from "../../models/config.ts";
import { modelParameters } from "../../models/decoder.ts";
import { stageMemory, THIS_MACHINE } from "../../plan/budget.ts";
import { count } from "../../plan/plan.ts";
import { memoryBound, memoryNeed } from "../../train/memory_need.ts";
import { stageSize } from "../../train/stage_size.ts";
import { createTrainer } from "../../train/trainer.ts";
import { withCpu } from "../support/devices.ts";
import { ATTENTION, radRwkv6, radRwkv7, smallConfig } from "../support/model.ts";

const LAYERS = 8;

const model = (mixer: MixerSpec, tied: boolean): ModelSpec => ({
  config: smallConfig({
    layers: LAYERS,
    hiddenSize: 64,
    intermediateSize: 160,
    headDim: 16,
    vocabSize: 3000,
    tieWordEmbeddings: tied,
  }),
  mixers: Array(LAYERS).fill(mixer),
});

const OPTIONS = { tokens: 1e6, context: 64, batch: 8 };
const STAGES: Readonly<Record<string, Stage>> = {
  align: align(OPTIONS),
  distill: distill(OPTIONS),
  "distill, computed again": distill({ ...OPTIONS, rematerialise: true }),
  "distill, in parts": distill({ ...OPTIONS, accumulate: 4 }),
  finetune: finetune(OPTIONS),
};

/** Bytes that a device has in use at most while a stage takes a step as a run does. */
function measured(stage: Stage, student: ModelSpec, teacher: ModelSpec): Promise<number> {
  return withCpu({ threads: 2 }, async (device) => {
    const bf16 = layoutOf(keptParameters({ spec: teacher }, () => "BF16"));
    const store = createStore(device, bf16);
    createStore(device, layoutOf(modelParameters(student)));
    const sizes = new Map(modelParameters(student).map((p) => [p.name, count([p])]));
    const trainer = await createTrainer({
      device,
      stage,
      student,
      values: (name) => new Float32Array(sizes.get(name)!),
      teacher: { spec: teacher, store },
    });
    const ids = new Int32Array(stage.batch * stage.context);
    await trainer.step({ ids, targets: ids }, 0, 1e-3);
    return device.memoryUse().peak;
  });
}

const STUDENTS = [
  { name: "RAD-RWKV6", mixer: radRwkv6(), tied: false },
  { name: "RAD-RWKV7, tied", mixer: radRwkv7(), tied: true },
];

for (const { name: kind, mixer, tied } of STUDENTS) {
  Deno.test(`memory: a plan says what a device has in use, ${kind}`, async () => {
    const [student, teacher] = [model(mixer, tied), model(ATTENTION, tied)];
    for (const [name, stage] of Object.entries(STAGES)) {
      const size = stageSize(stage, student, teacher, true, true);
      const { total, process } = stageMemory(size, THIS_MACHINE);
      const found = await measured(stage, student, teacher);
      const share = (total - process) / found;
      assert(share > 0.9 && share < 1.1, `${name}: ${share} × ${found}`);
    }
  });
}

Deno.test("memory: what a run needs is bounded where that is little, and counted where it is not", () => {
  for (const mixer of [radRwkv6(), radRwkv7()]) {
    const [student, teacher] = [model(mixer, false), model(ATTENTION, false)];
    const all = Object.values(STAGES);
    const need = (enough: number) => memoryNeed(all, student, teacher, false, enough);
    const bounds = all.map((stage) => memoryBound(stage, student, teacher));
    assertEquals(need(2 ** 32), Math.max(...bounds));
    const counted = need(0);
    assert(counted > 2e7 && counted < need(2 ** 32), `${counted}`);
    all.forEach((stage, i) => {
      const own = memoryNeed([stage], student, teacher, false, 0);
      assert(own < bounds[i], `${stage.name}: ${own} of ${bounds[i]}`);
    });
  }
  assertEquals(memoryNeed([], model(ATTENTION, false), undefined, false, 0), 0);
});
