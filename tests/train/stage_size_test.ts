import { assert, assertEquals } from "@std/assert";
import { costOf } from "../../devices/null.ts";
import type { Store } from "../../devices/store.ts";
import { align, distill, finetune, type Stage } from "../../dsl/stages.ts";
import { match } from "../../dsl/trains.ts";
import type { ModelSpec } from "../../models/config.ts";
import { stageGraph } from "../../train/stage_graph.ts";
import { stageSize } from "../../train/stage_size.ts";
import { createLayerTrainer } from "../../train/by_layer/trainer.ts";
import { streamedLayers } from "../../train/by_layer/layers.ts";
import { withCpu } from "../support/devices.ts";
import { ATTENTION, radRwkv7, smallConfig } from "../support/model.ts";

const LAYERS = 8;

/** A model of eight layers with a vocabulary beside which they are small. */
const model = (mixer: ModelSpec["mixers"][number]): ModelSpec => ({
  config: smallConfig({ layers: LAYERS, vocabSize: 8000 }),
  mixers: Array(LAYERS).fill(mixer),
});
const STUDENT = model(radRwkv7());
const TEACHER = model(ATTENTION);

const options = { tokens: 1e6, context: 32, batch: 8, accumulate: 2 };
const STAGES: Readonly<Record<string, Stage>> = {
  align: align(options),
  distill: distill(options),
  "distill, computed again": distill({ ...options, rematerialise: true }),
  "finetune of the mixers": finetune({ ...options, trains: "mixers" }),
  "finetune of one layer": finetune({ ...options, trains: match("model.layers.5.*") }),
  "finetune of the head": finetune({ ...options, trains: match("lm_head.*") }),
};

for (const [name, stage] of Object.entries(STAGES)) {
  Deno.test(`stage size: activations and head are the program's memory, ${name}`, () => {
    const { activations, head } = stageSize(stage, STUDENT, TEACHER, { programs: true });
    const whole = costOf(stageGraph(stage, STUDENT, TEACHER).results).arenaBytes;
    const rows = stage.batch / stage.accumulate;
    const layers = rows * (stage.rematerialise ? activations.rematerialised : activations.kept);
    const share = (layers + head) / whole;
    assert(share > 0.9 && share < 1.1, `${share} × ${whole}, of which ${head} are the head's`);
    assertEquals(head === 0, stage.kind === "align");
  });
}

Deno.test("stage size: layer by layer it is what the largest layer takes", async () => {
  const stage = align({ tokens: 64, context: 32, batch: 2, streamed: true });
  const { streamed } = stageSize(stage, STUDENT, TEACHER, {
    programs: true,
    staysOnDisk: true,
  });
  const layers = streamedLayers(stage, STUDENT, TEACHER);
  await withCpu({ threads: 1, blas: "none" }, (device) => {
    // Layers in the middle are the largest: the first has no values of an earlier one to read.
    const trainer = createLayerTrainer(device, layers, layers.roles[3]);
    const { teacher, trained, frozen, arenaBytes } = trainer;
    const values = (...stores: Store[]) =>
      stores.flatMap(({ layout }) => layout.tensors).reduce((n, { size }) => n + size, 0);
    assertEquals(streamed!.frozen, values(teacher, frozen));
    assertEquals(streamed!.trained, values(trained));
    const share = 2 * streamed!.activations / arenaBytes;
    assert(share > 1 && share < 1.5, `${share}`);
    trainer.free();
    return Promise.resolve();
  });
});
