import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { BENCH_MIXERS, decoderConfig } from "../../bench/shapes.ts";
import { costOf } from "../../devices/null.ts";
import { align, distill, finetune, type Stage } from "../../dsl/stages.ts";
import type { MixerSpec, ModelSpec } from "../../models/config.ts";
import { stageSequenceCost } from "../../train/stage_cost.ts";
import { stageGraph } from "../../train/stage_graph.ts";
import { ATTENTION } from "../support/model.ts";

const CONFIG = decoderConfig([64, 160, 9, 4, 2, 16, 512]);
const [RWKV6, RWKV7] = [BENCH_MIXERS.rwkv6(64), BENCH_MIXERS.rwkv7(64)];

const of = (mixers: readonly MixerSpec[]) => ({
  config: { ...CONFIG, layers: mixers.length },
  mixers,
});
const times = (count: number, mixer: MixerSpec) => Array<MixerSpec>(count).fill(mixer);

const STUDENTS: Readonly<Record<string, readonly MixerSpec[]>> = {
  "RAD-RWKV7": times(6, RWKV7),
  "RAD-RWKV6": times(6, RWKV6),
  "a hybrid whose last layers keep attention": [...times(5, RWKV7), ...times(2, ATTENTION)],
  "a hybrid with attention between": [RWKV7, ATTENTION, RWKV7, RWKV7, ATTENTION, RWKV7, RWKV7],
  "a hybrid whose first layer keeps attention": [ATTENTION, ...times(5, RWKV7)],
};
const options = { tokens: 1e6, context: 32, batch: 4 };
const STAGES: Readonly<Record<string, Stage>> = {
  align: align(options),
  distill: distill(options),
  "distill, computed again": distill({ ...options, rematerialise: true }),
  "finetune of the mixers": finetune({ ...options, trains: "mixers" }),
};

for (const [what, mixers] of Object.entries(STUDENTS)) {
  Deno.test(`stage cost: counted from a few layers as from all, ${what}`, () => {
    const hybrid = mixers.includes(ATTENTION);
    for (const [name, stage] of Object.entries(STAGES)) {
      if (hybrid && stage.rematerialise) continue;
      const student = of(mixers);
      const teacher = of(mixers.map(() => ATTENTION));
      const found = stageSequenceCost(stage, student, teacher);
      const { results } = stageGraph({ ...stage, batch: 1 }, student, teacher);
      const whole = costOf(results);
      assertAlmostEquals(found.flops / whole.flops, 1, 0.002, `FLOPs of ${name}`);
      const activations = found.activationBytes / whole.arenaBytes;
      assert(activations > 0.75 && activations < 1.25, `${name}: ${activations} × the memory`);
    }
  });
}

Deno.test("stage cost: a model of a few layers is counted whole, its head's memory apart", () => {
  const student = of(times(3, RWKV7));
  const teacher = of(times(3, ATTENTION));
  const cost = (pieces: number) => {
    const sized = ({ config, mixers }: ModelSpec) => ({
      config: { ...config, vocabSize: pieces },
      mixers,
    });
    const stage = { ...STAGES.distill, batch: 1 };
    return costOf(stageGraph(stage, sized(student), sized(teacher)).results);
  };
  const found = stageSequenceCost(STAGES.distill, student, teacher);
  assertEquals(found, { flops: cost(512).flops, activationBytes: cost(16).arenaBytes });
});

Deno.test("stage cost: layers that a teacher had converted already do not count in stage 1", () => {
  // Of equal mixers some are the teacher's own, and some start afresh.
  const own = times(8, RWKV7);
  const teacher = of([...own.slice(0, 7), ATTENTION]);
  const student = of([own[0], { ...RWKV7 }, ...own.slice(2, 6), { ...RWKV7 }, ATTENTION]);
  const found = stageSequenceCost(STAGES.align, student, teacher);
  const whole = costOf(stageGraph({ ...STAGES.align, batch: 1 }, student, teacher).results);
  assertAlmostEquals(found.flops / whole.flops, 1, 0.002);
});
