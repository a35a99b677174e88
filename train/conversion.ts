/** The main job: a recipe from its teacher to the finished model. */

import { join, resolve } from "node:path";
import { processPeak } from "../devices/process_memory.ts";
import { RecipeError } from "../dsl/problem.ts";
import type { Recipe } from "../dsl/recipe.ts";
import { hash, toJson } from "../dsl/json.ts";
import { FormatError } from "../formats/error.ts";
import { isFolder } from "../formats/files.ts";
import type { LoadedModel } from "../infer/session.ts";
import type { ModelSpec } from "../models/config.ts";
import { measureInference, promptOf, staticInference } from "./inference.ts";
import { machineReport } from "./machine.ts";
import { isLayered, layeredEvaluators, layeredStudent, layeredTensors } from "./by_layer/models.ts";
import { createMeasures, heldEvaluator } from "./measurement.ts";
import { originOf } from "./origin.ts";
import { checkOutput, earlierReport, recoverOutput, writeOutput } from "./output.ts";
import { checkData, checkStored, holdModels, prepareTexts } from "./preparation.ts";
import type { Report } from "./report.ts";
import { phase } from "./phases.ts";
import { heldModels, type Run, type RunOptions, type RunOutcome } from "./run.ts";
import { openRunFolder, type RunState, storeTensors, TELEMETRY_FILE } from "./run_folder.ts";
import { runStages, stageReports } from "./run_stages.ts";
import { begun, resumed } from "./run_start.ts";
import { stageProblems } from "./stage_graph.ts";
import { keepTokenizer } from "./tokenizer_files.ts";

/** What the run found out, once all stages are done. */
async function reportOf(run: Run, state: RunState): Promise<Report> {
  const { recipe, options, origin, models, texts: { splits } } = run;
  if (models !== undefined) options.events.note("measuring inference");
  const { tokenizer } = origin;
  const { heldOut } = splits[splits.length - 1];
  const prompt = promptOf(heldOut, tokenizer);
  const [untrained, ...stages] = stageReports(recipe, state);
  const { loss, perplexity, ratio, context } = state.measures[state.measures.length - 1];
  const reference = await run.measures.teacher(recipe.stages.length);
  const inference = (model: LoadedModel | undefined, spec: ModelSpec) =>
    model === undefined ? staticInference(spec) : measureInference(model, tokenizer, prompt);
  return {
    ...(ratio === undefined ? {} : { ratio }),
    ...(origin.teacher && {
      teacher: { ...reference!, ...await inference(models?.teacher, origin.teacher.spec) },
    }),
    student: {
      loss,
      perplexity,
      context,
      ...await inference(models?.student, origin.student),
    },
    untrained,
    stages,
    ...(state.kept && { keptAttention: state.kept }),
    prompt: tokenizer.decode(prompt),
    heldOutTokens: heldOut.length,
    trainingTokens: splits[0].train.length,
    seconds: run.elapsed(),
    peakMemory: { device: options.device.memoryUse().peak, process: processPeak() },
    ...machineReport(),
    device: options.device.description,
    recipeHash: state.run,
    seed: recipe.seed,
  };
}

/** Where a run of a recipe that writes to `out` keeps what it needs until it is done. */
export function runFolderOf(recipe: Recipe, out: string): string {
  return `${resolve(out)}.run-${hash(recipe).slice(0, 12)}`;
}

/** Whether an earlier run of a recipe that writes to `out` is there, unfinished or done. */
export function isBegun(recipe: Recipe, out: string): boolean {
  return isFolder(runFolderOf(recipe, out)) ||
    earlierReport(resolve(out), hash(recipe)) !== undefined;
}

const hasTrained = (state: RunState | undefined) =>
  state !== undefined && (state.stage > 0 || state.progress.step > 0);

/** Hours of training must not go because a flag was forgotten. */
const unfinishedRun = (path: string) =>
  new FormatError({
    file: path,
    expected: "to be told what to do with it, --resume or --restart",
    found: "an unfinished run of this recipe and neither",
    advice: "--resume goes on with it, --restart removes it and starts afresh",
  });

/**
 * Runs a recipe. What is wrong with recipe, teacher or data is found before training, and nothing
 * of such a run stays; any other failure leaves the run's folder, from which it can be resumed.
 * @throws RecipeError and FormatError for what is wrong; NotFiniteError.
 */
export async function runRecipe(recipe: Recipe, options: RunOptions): Promise<RunOutcome> {
  const began = performance.now();
  const { device, events } = options;
  const out = resolve(options.out);
  const path = runFolderOf(recipe, out);
  recoverOutput(out);
  checkOutput(out);
  const unfinished = isFolder(path);
  const resumes = options.resume !== false && unfinished;
  if (options.resume !== false && !unfinished) {
    const report = earlierReport(out, hash(recipe));
    if (report !== undefined) return { kind: "done", report, before: true };
    if (options.resume !== "if any") {
      events.note("there is nothing to resume: the run starts afresh");
    }
  }
  const origin = originOf(recipe, resumes ? path : undefined, events.note, options.folderOf);
  const { student, teacher, hybrid } = origin;
  const problems = stageProblems(recipe, student, teacher?.spec, hybrid?.choice);
  if (problems.length > 0) throw new RecipeError(problems);
  if (!resumes) checkData(recipe, origin, events.progress);

  using owned = new DisposableStack();
  const folder = owned.use(openRunFolder(path));
  if (!options.resume && !options.restart && hasTrained(folder.state())) throw unfinishedRun(path);
  let before = 0;
  let run: Run;
  let state: RunState;
  try {
    if (!resumes) folder.clear();
    if (origin.tokenizerIsMade) keepTokenizer(path, origin.tokenizerFiles);
    const prepared = { recipe, origin, folder: path, device, onProgress: events.progress };
    const layered = isLayered(recipe);
    const { texts, models } = await phase(events, "reading data and models", async () => {
      const texts = owned.use(await prepareTexts(prepared));
      if (layered && !resumes) checkStored(origin.teacher!, events.progress);
      return { texts, models: layered ? undefined : owned.use(await holdModels(prepared)) };
    });
    const heldOut = texts.splits.map((split) => split.heldOut);
    run = {
      recipe,
      options,
      folder,
      origin,
      texts,
      models,
      measures: createMeasures({
        ...(models === undefined ? layeredEvaluators({ recipe, origin, folder, options }) : {
          ...(models.teacher && { teacher: heldEvaluator(() => models.teacher!) }),
          student: heldEvaluator(() => models.student),
        }),
        stages: recipe.stages,
        heldOut,
        onProgress: events.progress,
      }),
      elapsed: () => before + (performance.now() - began) / 1000,
    };
    const found = resumes ? await resumed(run) : undefined;
    before = found?.elapsed ?? 0;
    state = found ?? await begun(run);
  } catch (error) {
    owned.dispose();
    folder.discard();
    throw error;
  }
  const reached = await runStages(run, state);
  if ("kind" in reached) return reached;
  const report = await phase(events, "measuring inference", () => reportOf(run, reached));
  await phase(events, "writing the result", async () => {
    using stored = run.models === undefined ? layeredStudent(run, recipe.stages.length) : undefined;
    writeOutput(out, {
      config: run.models?.student.config ?? origin.config,
      dtype: options.dtype,
      tensors: stored === undefined
        ? await storeTensors(heldModels(run).student.store)
        : layeredTensors(origin.student, stored),
      tokenizerFiles: origin.tokenizerFiles,
      recipe: toJson(recipe),
      report,
      telemetry: join(path, TELEMETRY_FILE),
    });
  });
  owned.dispose();
  folder.remove();
  return { kind: "done", report, before: false };
}
