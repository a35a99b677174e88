/** One layer's steps of a window of stage 1. */

import { learningRate } from "../../dsl/schedules.ts";
import { stepsOf } from "../../dsl/stages.ts";
import { layerPrefix } from "../../models/decoder.ts";
import { culpritIn, NotFiniteError } from "../finite.ts";
import { layerProgress, loadLayer, openLayer, saveLayer } from "./files.ts";
import type { LayerTrainer } from "./trainer.ts";
import type { LayerRole } from "./layers.ts";
import { turn } from "../stage.ts";
import type { StreamedRun } from "./run.ts";
import { fillStore, type Weights } from "../weights.ts";
import type { Streams, Window } from "./windows.ts";

/** Puts a layer's weights and moments in memory, as they are after its last checkpoint. */
export async function fillTrainer(
  { device, folder, weights }: StreamedRun,
  trainer: LayerTrainer,
  { layer }: LayerRole,
  teacher: Weights,
): Promise<void> {
  const prefix = layerPrefix(layer);
  const named = (name: string) => prefix + name;
  await fillStore(device, trainer.teacher, teacher, named);
  await fillStore(device, trainer.frozen, weights, named);
  const { trained, optimizer: { first, second } } = trainer;
  const saved = openLayer(folder, layer);
  try {
    if (saved !== undefined && saved.progress.step > 0) {
      return await loadLayer(saved.file, device, { weights: trained, first, second });
    }
  } finally {
    saved?.file.close();
  }
  await fillStore(device, trained, weights, named);
  for (const moments of [first, second]) device.clear(moments.memory);
}

/** The first tensor of the layer with a value that is not finite. */
const culprit = ({ teacher, frozen, trained, gradients }: LayerTrainer): Promise<string> =>
  culpritIn([
    ["the teacher's ", teacher],
    ["", frozen],
    ["", trained],
    ["the gradient of ", gradients],
  ]);

/** Computes a step's batch: reads what the layer is fed, and writes what it passes on. */
export async function passThrough(
  trainer: LayerTrainer,
  { layer }: LayerRole,
  streams: Streams,
  records: readonly number[],
  hostOf: (name: LayerTrainer["reads"][number]) => Float32Array<ArrayBuffer>,
): Promise<void> {
  for (const [part, record] of records.entries()) {
    for (const name of trainer.reads) {
      streams.of(layer, name).read(record, hostOf(name));
      trainer.write(name, hostOf(name));
    }
    trainer.run(part);
    for (const name of trainer.writes) {
      await trainer.read(name, hostOf(name));
      streams.of(layer, name).write(record, hostOf(name));
    }
  }
}

/** Arrays on the host for what a layer reads and writes, one for each name. */
export function hostArrays(trainer: LayerTrainer, { layer }: LayerRole, streams: Streams) {
  const hosts = new Map(
    [...trainer.reads, ...trainer.writes].map((name) =>
      [name, new Float32Array(streams.of(layer, name).length)] as const
    ),
  );
  return (name: LayerTrainer["reads"][number]) => hosts.get(name)!;
}

/**
 * Takes a layer's steps of a window from where it is; after the last one, and where a checkpoint is
 * wanted or it is asked to stop, its file is written. Returns whether it was asked to stop.
 * @throws NotFiniteError
 */
export async function trainLayer(
  run: StreamedRun,
  trainer: LayerTrainer,
  role: LayerRole,
  window: Window,
  streams: Streams,
  onStep: (done: number) => void,
): Promise<boolean> {
  const { device, stage, folder } = run;
  const { layer } = role;
  const steps = stepsOf(stage);
  const { trained, optimizer } = trainer;
  const stores = { weights: trained, first: optimizer.first, second: optimizer.second };
  const begun = layerProgress(folder, layer);
  // What it found in the window before has been told.
  const fresh = begun.step <= window.from;
  const losses = fresh ? [] : [...begun.losses];
  const norms = fresh ? [] : [...begun.norms];
  let step = fresh ? window.from : begun.step;
  let seconds = fresh ? 0 : begun.seconds;
  const hostOf = hostArrays(trainer, role, streams);
  const fail = async (what: string) => {
    throw new NotFiniteError(
      `stage ${stage.name}, layer ${layer}, step ${step + 1} of ${steps}: ${what}; ` +
        `${await culprit(trainer)}. Lower the learning rate, lengthen the warm-up or clip more, ` +
        "and run the recipe again.",
    );
  };
  const save = async () => {
    // A layer's file vouches for the streams up to its step.
    for (const name of trainer.writes) streams.of(layer, name).sync();
    const progress = { step, losses, norms, seconds };
    const astray = await saveLayer(folder, layer, device, progress, stores);
    if (astray !== undefined) await fail(`${astray} is not finite`);
  };
  let saved = step;
  for (;;) {
    await turn();
    const done = step === window.to;
    const stops = !done && run.wantsStop();
    if (done || (step > saved && (stops || run.wantsCheckpoint()))) {
      await run.during(save);
      saved = step;
    }
    if (done || stops) return stops;
    const start = performance.now();
    const first = (step - window.from) * stage.accumulate;
    const records = Array.from({ length: stage.accumulate }, (_, part) => first + part);
    await passThrough(trainer, role, streams, records, hostOf);
    let [loss, norm] = [0, 0];
    if (role.student !== undefined) {
      loss = await trainer.loss();
      if (!Number.isFinite(loss)) await fail(`the loss is ${loss}`);
      const rate = learningRate(stage.lr, step, steps, stage.warmup);
      if (role.trained.length > 0) norm = await optimizer.step(step, rate);
      if (!Number.isFinite(norm)) await fail(`the gradient's norm is ${norm}`);
    }
    losses.push(loss);
    norms.push(norm);
    seconds += (performance.now() - start) / 1000;
    step++;
    onStep(step - window.from);
  }
}
