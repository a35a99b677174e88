/** The stages of a run, one after another, measured in between. */

import { measuredAfter, type Recipe } from "../dsl/recipe.ts";
import { stepsOf } from "../dsl/stages.ts";
import { keepWorst } from "./hybrid.ts";
import { layeredStudent, trainedWeights } from "./by_layer/models.ts";
import { phase } from "./phases.ts";
import { sourcesKey } from "./preparation.ts";
import type { StageReport, Training } from "./report.ts";
import { heldModels, type Run, type RunOutcome } from "./run.ts";
import type { RunState } from "./run_folder.ts";
import { BEGINNING, runStage } from "./stage.ts";
import { runStreamedStage } from "./by_layer/stage.ts";
import { createTrainer } from "./trainer.ts";
import { fillStore, heldWeights } from "./weights.ts";

/** Samples that earlier stages took from the same text. */
function samplesBefore({ stages, data }: Recipe, index: number): number {
  const keyOf = (i: number) => sourcesKey(stages[i].data ?? data);
  return stages.slice(0, index)
    .filter(({ context }, i) => context === stages[index].context && keyOf(i) === keyOf(index))
    .reduce((sum, stage) => sum + stepsOf(stage) * stage.batch, 0);
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/** Share of the time that checkpoints may take, unless one is wanted after every step. */
const CHECKPOINT_SHARE = 0.05;

/** When it is time for a checkpoint: every so many seconds, more seldom where they take long. */
function checkpointClock(seconds: number) {
  let last = performance.now();
  let pause = 1000 * seconds;
  return {
    comes: () => performance.now() - last >= pause,
    during: async (write: () => Promise<void>): Promise<void> => {
      const start = performance.now();
      await write();
      last = performance.now();
      if (seconds > 0) pause = Math.max(1000 * seconds, (last - start) / CHECKPOINT_SHARE);
    },
  };
}

/**
 * Trains one stage layer by layer. What it learnt is moved into the student where that is held as a
 * whole; the files of its layers are the student where it is not.
 */
async function trainLayers(run: Run, state: RunState) {
  const { recipe, options: { device, events, scratchBytes, ...options }, folder, origin } = run;
  const { models, texts } = run;
  const index = state.stage;
  const stage = recipe.stages[index];
  const student = models?.student.spec ?? origin.student;
  const path = folder.layers(index);
  using stop = options.listen?.();
  using stored = models === undefined ? layeredStudent(run, index) : undefined;
  const due = checkpointClock(options.checkpointSeconds);
  const result = await runStreamedStage({
    device,
    stage,
    student,
    teacher: origin.teacher!,
    weights: stored ?? heldWeights(device, models!.student.store),
    tokens: texts.splits[index].train,
    samplesBefore: samplesBefore(recipe, index),
    folder: path,
    scratchBytes,
    progress: state.progress,
    onStep: (event) => {
      folder.log(index, event);
      events.step(event);
    },
    onLayer: events.progress,
    wantsCheckpoint: due.comes,
    during: due.during,
    checkpoint: (progress) => folder.saveProgress({ ...state, progress, elapsed: run.elapsed() }),
    wantsStop: () => stop?.wanted === true,
  });
  if (models !== undefined && !result.stopped) {
    using learnt = trainedWeights(path, stage, student, origin.teacher!.spec);
    await fillStore(device, models.student.store, learnt, (name) => name, learnt.has);
  }
  return { ...result, deviceBytes: device.memoryUse().inUse };
}

/** Trains one stage and moves what it learnt into the student. */
async function trainStage(run: Run, state: RunState) {
  const { recipe, options, folder, texts: { splits } } = run;
  const { student, teacher } = heldModels(run);
  const index = state.stage;
  const stage = recipe.stages[index];
  const trainer = await phase(options.events, `preparing ${stage.name}`, () =>
    createTrainer({
      device: options.device,
      stage,
      student: student.spec,
      values: (name) => student.store.read(name),
      teacher,
    }));
  try {
    const { trained, optimizer: { first, second } } = trainer;
    const stores = { weights: trained, first, second };
    if (state.progress.step > 0) folder.loadProgress(stores);
    using stop = options.listen?.();
    const due = checkpointClock(options.checkpointSeconds);
    const { progress, stopped } = await runStage({
      stage,
      trainer,
      teacher: teacher?.store,
      tokens: splits[index].train,
      samplesBefore: samplesBefore(recipe, index),
      progress: state.progress,
      onStep: (event) => {
        folder.log(index, event);
        options.events.step(event);
      },
      wantsCheckpoint: due.comes,
      checkpoint: (progress) =>
        due.during(() =>
          folder.saveProgress({ ...state, progress, elapsed: run.elapsed() }, stores)
        ),
      wantsStop: () => stop?.wanted === true,
    });
    for (const { name } of trained.layout.tensors) {
      student.store.write(name, await trained.read(name));
    }
    return { progress, stopped, deviceBytes: options.device.memoryUse().inUse };
  } finally {
    trainer.free();
  }
}

/** The reports of what has been measured so far: before the first stage, then after each. */
export function stageReports({ stages }: Recipe, { trainings, measures }: RunState): StageReport[] {
  const none: Training = { tokens: 0, seconds: 0 };
  return measures.map((measure, i) =>
    i === 0
      ? { name: "untrained", ...none, ...measure }
      : { name: stages[i - 1].name, ...trainings[i - 1], ...measure }
  );
}

/**
 * Goes through the stages that are left.
 * @throws NotFiniteError
 */
export async function runStages(run: Run, from: RunState): Promise<RunState | RunOutcome> {
  const { recipe: { stages }, options: { events }, folder, measures } = run;
  let state = from;
  for (;;) {
    const { stage: index } = state;
    if (index === measuredAfter(run.recipe) && state.kept === undefined) {
      state = await keepWorst(run, state);
    }
    if (state.measures.length <= index) {
      const measure = await phase(events, "measuring", () => measures.student(index));
      state = { ...state, measures: [...state.measures, measure] };
      events.measured(stageReports(run.recipe, state)[index]);
    }
    if (index === stages.length) return state;
    const stage = stages[index];
    const steps = stepsOf(stage);
    events.note(`stage ${index + 1} of ${stages.length}: ${stage.name}`);
    const { progress, stopped, deviceBytes } = await phase(
      events,
      stage.name,
      () => (stage.streamed ? trainLayers : trainStage)(run, state),
    );
    if (stopped) {
      const { name } = stage;
      const { step } = progress;
      return { kind: "stopped", folder: folder.path, stage: index + 1, name, step, steps };
    }
    const training: Training = {
      tokens: steps * stage.batch * stage.context,
      seconds: progress.seconds,
      trainingLoss: mean(progress.recent),
      deviceBytes,
    };
    state = {
      ...state,
      stage: index + 1,
      progress: BEGINNING,
      elapsed: run.elapsed(),
      trainings: [...state.trainings, training],
    };
    await phase(
      events,
      "saving the stage",
      () => folder.saveStage(state, run.models?.student.store),
    );
  }
}
