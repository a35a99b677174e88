import { assert, assertEquals } from "@std/assert";
import { createStore, layoutOf } from "../../devices/store.ts";
import { align, distill, finetune, type Stage } from "../../dsl/stages.ts";
import type { MixerSpec, ModelSpec } from "../../models/config.ts";
import { modelParameters } from "../../models/decoder.ts";
import { stageMemory, THIS_MACHINE } from "../../plan/budget.ts";
import { count } from "../../plan/plan.ts";
import { memoryBound, memoryNeed } from "../../train/memory_need.ts";
import { stageSize } from "../../train/stage_size.ts";
import { teacherParameters } from "../../train/teacher.ts";
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
    const bf16 = layoutOf(teacherParameters(teacher, () => "BF16"));
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
      const size = stageSize(stage, student, teacher, {
        programs: true,
        teacherIsBf16: true,
      });
      const { total, process } = stageMemory(size, THIS_MACHINE);
      const found = await measured(stage, student, teacher);
      const share = (total - process) / found;
      assert(share > 0.9 && share < 1.1, `${name}: ${share} × ${found}`);
    }
  });
}

Deno.test("memory: what a run needs is bounded where that is little, and counted where it is not", () => {
  const [student, teacher] = [model(radRwkv7(), false), model(ATTENTION, false)];
  const stages = [STAGES.align, STAGES.finetune];
  const need = (list: readonly Stage[], enough: number) =>
    memoryNeed(list, student, teacher, {}, enough);
  const bounds = stages.map((stage) => memoryBound(stage, student, teacher));
  assertEquals(need(stages, 2 ** 32), Math.max(...bounds));
  const counted = stages.map((stage) => need([stage], 0));
  counted.forEach((bytes, i) => assert(bytes > 1e7 && bytes < bounds[i], `${bytes}, ${bounds[i]}`));
  assertEquals(need(stages, bounds[0]), Math.max(bounds[0], counted[1]));
  assertEquals(need([], 0), 0);
});
