/** The main job: a recipe from its teacher to the finished model, stage by stage. */

import { join } from "node:path";
import type { Device } from "../devices/device.ts";
import { createStore, layoutOf, type Store } from "../devices/store.ts";
import { RecipeError } from "../dsl/problem.ts";
import type { Recipe } from "../dsl/recipe.ts";
import { hash, toJson } from "../dsl/serialise.ts";
import type { Stage } from "../dsl/stages.ts";
import { evaluate } from "../infer/evaluate.ts";
import { loadCheckpoint, type LoadedCheckpoint, loadedModel } from "../infer/load.ts";
import { modelParameters } from "../models/decoder.ts";
import { type Corpus, openCorpus } from "./corpus.ts";
import { type Split, splitTokens } from "./data.ts";
import { measureInference, promptOf } from "./inference.ts";
import { machineReport } from "./machine.ts";
import { type Origin, originOf } from "./origin.ts";
import { checkOutput, type OutputDtype, writeOutput } from "./output.ts";
import type { ModelReport, Report, StageReport } from "./report.ts";
import { openRunFolder, type RunFolder, type RunState } from "./run_folder.ts";
import { runStage, type StageProgress, type StepEvent } from "./stage.ts";
import { createTrainer } from "./trainer.ts";

/** What happens during a run, for whoever watches. */
export interface RunEvents {
  /** A new phase. */
  note(message: string): void;
  /** Progress of a phase other than training; `total` 0 where it is not known. */
  progress(what: string, done: number, total: number): void;
  step(event: StepEvent): void;
  /** The student was measured. */
  measured(report: StageReport): void;
}

/** How a run is done. */
export interface RunOptions {
  readonly device: Device;
  /** Where the result goes. */
  readonly out: string;
  /** Goes on where an earlier run stopped. */
  readonly resume: boolean;
  readonly seed: number;
  readonly dtype: OutputDtype;
  /** Seconds between checkpoints. */
  readonly checkpointSeconds: number;
  readonly events: RunEvents;
}

/** Held-out tokens that are evaluated at most. */
const HELD_OUT_LIMIT = 262_144;
/** Steps whose mean loss a report tells. */
const RECENT_STEPS = 20;

/** A run: what all its parts share. */
interface Run {
  readonly recipe: Recipe;
  readonly options: RunOptions;
  readonly folder: RunFolder;
  readonly id: string;
  readonly origin: Origin;
  readonly teacher?: LoadedCheckpoint;
  readonly student: LoadedCheckpoint;
  readonly corpora: readonly Corpus[];
  /** Training and held-out tokens of every stage. */
  readonly splits: readonly Split[];
  readonly elapsed: () => number;
}

/** Every stage's context must fit its text. */
function checkContexts(stages: readonly Stage[], splits: readonly Split[]): void {
  const problems = stages.flatMap(({ context }, i) => {
    const { train, heldOut } = splits[i];
    const path = `stages[${i}].context`;
    const fits = [
      ...(train.length > context ? [] : [{ what: "training", tokens: train.length }]),
      ...(heldOut.length > 1 ? [] : [{ what: "held-out", tokens: heldOut.length }]),
    ];
    return fits.map(({ what, tokens }) => ({
      path,
      expected: `at most ${Math.max(0, tokens - 1)}, so that one sequence fits the ${what} tokens`,
      found: `${context}`,
      hint: "use more text or a shorter context",
    }));
  });
  if (problems.length > 0) throw new RecipeError(problems);
}

/** Opens the text of every stage; stages with the recipe's data share one corpus. */
async function openData(
  { recipe, origin, folder, options }: Pick<Run, "recipe" | "origin" | "folder" | "options">,
): Promise<{ corpora: Corpus[]; splits: Split[] }> {
  const { stages } = recipe;
  const longest = Math.max(...stages.map(({ context }) => context), 256) + 1;
  const open = (name: string, sources: Recipe["data"]) =>
    openCorpus({
      sources,
      name,
      longest,
      tokenizer: origin.tokenizer,
      vocabSize: origin.config.vocabSize,
      folder: folder.path,
      device: options.device,
      onProgress: options.events.progress,
    });
  const shared = await open("tokens", recipe.data);
  const corpora = [shared];
  const splits: Split[] = [];
  for (const [i, { data }] of stages.entries()) {
    const corpus = data === undefined ? shared : await open(`tokens-stage-${i}`, data);
    if (corpus !== shared) corpora.push(corpus);
    splits.push(splitTokens(corpus, recipe.heldOut));
  }
  if (stages.length === 0) splits.push(splitTokens(shared, recipe.heldOut));
  return { corpora, splits };
}

/** Measures a model on the held-out text of a stage. */
async function measure(
  { splits }: Run,
  model: LoadedCheckpoint,
  stage: Stage | undefined,
  index: number,
): Promise<ModelReport> {
  const context = stage?.context ?? 256;
  const { heldOut } = splits[index];
  const length = Math.min(heldOut.length, HELD_OUT_LIMIT);
  return { ...await evaluate(model, { length, read: heldOut.read }, context), context };
}

/** The teacher's measures at every stage's context and text, each taken once. */
function teacherMeasures(run: Run) {
  const known = new Map<string, Promise<ModelReport>>();
  return (stage: Stage | undefined, index: number): Promise<ModelReport> | undefined => {
    if (run.teacher === undefined) return undefined;
    const key = `${stage?.context}/${run.splits[index].heldOut.length}`;
    const measured = known.get(key) ?? measure(run, run.teacher, stage, index);
    known.set(key, measured);
    return measured;
  };
}

function saveWeights(run: Run, state: RunState): Promise<void> {
  return collect(run.student.store).then((tensors) => run.folder.saveStage(state, tensors));
}

function collect(store: Store) {
  return Promise.all(store.layout.tensors.map(async ({ name, shape }) => ({
    name,
    shape,
    dtype: "F32" as const,
    data: await store.read(name),
  })));
}

/** Trains one stage and moves what it learnt into the student. */
async function trainStage(run: Run, index: number, state: RunState): Promise<number | undefined> {
  const { recipe, options, folder, student, teacher } = run;
  const stage = recipe.stages[index];
  const trainer = await createTrainer({
    device: options.device,
    stage,
    student: student.spec,
    values: (name) => student.store.read(name),
    teacher,
  });
  const stores = {
    weights: trainer.trained,
    first: trainer.optimizer.first,
    second: trainer.optimizer.second,
  };
  const progress: StageProgress = { step: state.step, seconds: state.seconds };
  if (state.step > 0) folder.loadProgress(stores);
  const save = async () => {
    const at = { ...state, stage: index, ...progress, elapsed: run.elapsed() };
    await folder.saveProgress(at, stores);
  };
  let saved = performance.now();
  const recent: number[] = [];
  try {
    await runStage({
      device: options.device,
      stage,
      trainer,
      tokens: run.splits[index].train,
      samplesBefore: samplesBefore(recipe, index),
      progress,
      onStep: (event) => {
        recent.push(event.loss);
        if (recent.length > RECENT_STEPS) recent.shift();
        folder.log({ stageIndex: index, ...event });
        options.events.step(event);
      },
      wantsCheckpoint: () => performance.now() - saved >= 1000 * options.checkpointSeconds,
      checkpoint: async () => {
        await save();
        saved = performance.now();
      },
    });
    for (const { name } of trainer.trained.layout.tensors) {
      student.store.write(name, await trainer.trained.read(name));
    }
    Object.assign(state, progress);
    return recent.length === 0 ? undefined : recent.reduce((a, b) => a + b, 0) / recent.length;
  } finally {
    trainer.free();
  }
}

/** Samples that earlier stages took from the same text. */
function samplesBefore({ stages }: Recipe, index: number): number {
  return stages.slice(0, index)
    .filter((s) => s.context === stages[index].context && s.data === stages[index].data)
    .reduce(
      (sum, { tokens, batch, context }) => sum + Math.floor(tokens / (batch * context)) * batch,
      0,
    );
}

/** Runs a recipe. Returns the report that was also written. */
export async function runRecipe(recipe: Recipe, options: RunOptions): Promise<Report> {
  const began = performance.now();
  const { device, events } = options;
  checkOutput(options.out);
  const id = `${hash(recipe)}-${options.seed}`;
  const path = `${options.out}.run-${id.slice(0, 12)}`;
  if (!options.resume) removeRun(path);
  const folder = openRunFolder(path);
  const found = folder.state();
  const before = found?.elapsed ?? 0;
  const elapsed = () => before + (performance.now() - began) / 1000;

  const origin = originOf(recipe, path, events.note);
  const { corpora, splits } = await openData({ recipe, origin, folder, options });
  checkContexts(recipe.stages, splits);
  const teacher = origin.teacher && loadCheckpoint(device, origin.teacher);
  const store = createStore(device, layoutOf(modelParameters(origin.student)));
  const student = loadedModel(device, origin.student, origin.config, store);
  const run: Run = {
    recipe,
    options,
    folder,
    id,
    origin,
    teacher,
    student,
    corpora,
    splits,
    elapsed,
  };
  const ofTeacher = teacherMeasures(run);

  const stageReport = async (
    name: string,
    index: number,
    more: Pick<StageReport, "tokens" | "seconds" | "trainingLoss">,
  ): Promise<StageReport> => {
    const stage = recipe.stages[Math.max(0, index)];
    const { loss, perplexity, context } = await measure(run, student, stage, Math.max(0, index));
    const reference = await ofTeacher(stage, Math.max(0, index));
    const ratio = reference && { ratio: perplexity / reference.perplexity };
    const report = { name, ...more, loss, perplexity, context, ...ratio };
    events.measured(report);
    return report;
  };

  let state: RunState;
  if (found === undefined) {
    origin.initialise((name, values) => store.write(name, values), options.seed);
    const untrained = await stageReport("untrained", -1, { tokens: 0, seconds: 0 });
    state = { run: id, stage: 0, step: 0, seconds: 0, elapsed: elapsed(), reports: [untrained] };
    await saveWeights(run, state);
  } else {
    state = found;
    using weights = folder.openStage()!;
    for (const { name } of store.layout.tensors) store.write(name, weights.readF32(name));
    folder.trimLog(state);
    events.note(`resumed at stage ${state.stage + 1}, step ${state.step}`);
  }
  for (let index = state.stage; index < recipe.stages.length; index++) {
    const stage = recipe.stages[index];
    events.note(`stage ${index + 1} of ${recipe.stages.length}: ${stage.name}`);
    const trainingLoss = await trainStage(run, index, state);
    const report = await stageReport(stage.name, index, {
      tokens: state.step * stage.batch * stage.context,
      seconds: state.seconds,
      trainingLoss,
    });
    state = {
      run: id,
      stage: index + 1,
      step: 0,
      seconds: 0,
      elapsed: elapsed(),
      reports: [...state.reports, report],
    };
    await saveWeights(run, state);
  }

  events.note("measuring inference");
  const last = recipe.stages.length - 1;
  const text = splits[Math.max(0, last)].heldOut;
  const prompt = promptOf(text, origin.tokenizer);
  const [untrained, ...stages] = state.reports;
  const final = state.reports[state.reports.length - 1];
  const reference = await ofTeacher(recipe.stages[last], Math.max(0, last));
  const studentMeasured = await measure(run, student, recipe.stages[last], Math.max(0, last));
  const report: Report = {
    ...(final.ratio === undefined ? {} : { ratio: final.ratio }),
    ...(teacher === undefined ? {} : {
      teacher: { ...reference!, ...await measureInference(teacher, origin.tokenizer, prompt) },
    }),
    student: { ...studentMeasured, ...await measureInference(student, origin.tokenizer, prompt) },
    untrained,
    stages,
    prompt: origin.tokenizer.decode(prompt),
    heldOutTokens: text.length,
    trainingTokens: splits[0].train.length,
    seconds: elapsed(),
    ...machineReport(),
    device: device.description,
    recipeHash: hash(recipe),
    seed: options.seed,
  };
  writeOutput(options.out, {
    config: origin.config,
    dtype: options.dtype,
    tensors: await collect(store),
    tokenizerFolder: origin.tokenizerFolder,
    recipe: toJson(recipe),
    report,
    telemetry: join(path, "telemetry.jsonl"),
  });
  teacher?.free();
  student.free();
  corpora.forEach((corpus) => corpus.close());
  folder.remove();
  return report;
}

function removeRun(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
