/**
 * Stage 1 layer by layer. The steps of the stage are taken in windows whose streams fit a part of the
 * disk: within a window every layer, one after another, takes all of its steps on the teacher's
 * stream before it, and writes the stream after it. In memory there is one layer, of the teacher and
 * of the student with its gradients and moments.
 *
 * Layers meet only in the mean of their losses, so the order does not matter: each sees the batches,
 * the rates and the moments that it sees when all are trained at once. What differs is said in
 * docs/stages.md.
 */

import { learningRate } from "../../dsl/schedules.ts";
import { stepsOf } from "../../dsl/stages.ts";
import { openCheckpoint } from "../../formats/safetensors/checkpoint.ts";
import { batchReader } from "../data.ts";
import { type LayerProgress, layerProgress } from "./files.ts";
import { createLayerTrainer, type LayerTrainer } from "./trainer.ts";
import { RECENT_STEPS, type StageProgress, type StageResult } from "../stage.ts";
import { fillTrainer, trainLayer } from "./layer.ts";
import { type StreamedLayers, streamedLayers } from "./layers.ts";
import type { StreamedRun } from "./run.ts";
import {
  notedWindow,
  noteWindow,
  openStreams,
  removeStreams,
  SCRATCH_BYTES,
  type Window,
  windowSteps,
  writeEmbeddings,
} from "./windows.ts";

/** The ids of a window, a part of a batch at a time. */
function* windowIds(run: StreamedRun, { from, to }: Window): Generator<Int32Array> {
  const { stage, tokens, samplesBefore } = run;
  const batchAt = batchReader(tokens, stage.context, stage.batch);
  const part = stage.batch / stage.accumulate * stage.context;
  for (let step = from; step < to; step++) {
    const { ids } = batchAt(samplesBefore + step * stage.batch + 1);
    for (let i = 0; i < stage.accumulate; i++) yield ids.subarray(i * part, (i + 1) * part);
  }
}

/** Tells of a window's steps, which all layers have done. */
function tellWindow(
  { stage, folder, onStep }: StreamedRun,
  { roles }: StreamedLayers,
  { from, to }: Window,
  before: StageProgress,
): StageProgress {
  const steps = stepsOf(stage);
  const found = roles.map(({ layer }) => layerProgress(folder, layer));
  const sum = (of: (layer: LayerProgress) => number) =>
    found.reduce((n, layer) => n + of(layer), 0);
  const seconds = sum((layer) => layer.seconds) / (to - from);
  let progress = before;
  for (let step = from; step < to; step++) {
    const loss = sum(({ losses }) => losses[step - from]);
    progress = {
      step: step + 1,
      seconds: progress.seconds + seconds,
      recent: [...progress.recent, loss].slice(-RECENT_STEPS),
    };
    onStep({
      stage: stage.name,
      step: step + 1,
      steps,
      loss,
      gradientNorm: Math.sqrt(sum(({ norms }) => norms[step - from] ** 2)),
      learningRate: learningRate(stage.lr, step, steps, stage.warmup),
      tokens: (step + 1) * stage.batch * stage.context,
      seconds: progress.seconds,
      tokensPerSecond: stage.batch * stage.context / seconds,
    });
  }
  return progress;
}

/** Goes through the windows that are left. */
async function walk(run: StreamedRun, layers: StreamedLayers): Promise<StageResult> {
  const { device, stage, folder, teacher: { config } } = run;
  const { roles } = layers;
  const steps = stepsOf(stage);
  let { progress } = run;
  let trainer: LayerTrainer | undefined;
  using teacher = openCheckpoint(run.teacher.folder);
  using streams = openStreams(folder, layers);
  try {
    while (progress.step < steps) {
      const from = progress.step;
      const length = windowSteps(layers, run.scratchBytes ?? SCRATCH_BYTES);
      const noted = notedWindow(folder, from);
      const window = noted ?? { from, to: Math.min(steps, from + length) };
      if (noted === undefined) {
        const ids = windowIds(run, window);
        await writeEmbeddings(teacher, config.hiddenSize, ids, streams.of(0, "stream"));
        noteWindow(folder, window);
      }
      const { to } = window;
      for (const role of roles) {
        if (layerProgress(folder, role.layer).step >= to) continue;
        if (trainer?.key !== role.key) {
          // The old one goes first: there is no room for two.
          trainer?.free();
          trainer = undefined;
          trainer = createLayerTrainer(device, layers, role);
        }
        await fillTrainer(run, trainer, role, teacher);
        const which = `layer ${role.layer + 1} of ${roles.length}`;
        const what = `${stage.name}, steps ${from + 1} to ${to}, ${which}`;
        const before = role.layer * (to - from);
        const total = roles.length * (to - from);
        const tell = (done: number) => run.onLayer(what, before + done, total);
        if (await trainLayer(run, trainer, role, window, streams, tell)) {
          return { progress, stopped: true };
        }
      }
      progress = tellWindow(run, layers, window, progress);
      await run.checkpoint(progress);
    }
  } finally {
    trainer?.free();
  }
  return { progress, stopped: false };
}

/**
 * Trains until the stage is done, or until it is asked to stop. What was learnt is in the files of
 * the layers.
 * @throws NotFiniteError
 */
export async function runStreamedStage(run: StreamedRun): Promise<StageResult> {
  const { stage, student, teacher, folder } = run;
  const layers = streamedLayers(stage, student, teacher.spec);
  Deno.mkdirSync(folder, { recursive: true });
  const result = await walk(run, layers);
  if (!result.stopped) removeStreams(folder, layers);
  return result;
}
