/** Where a run begins: at its beginning, or where an earlier call stopped. */

import { hash } from "../dsl/json.ts";
import { becomeHybrid } from "./hybrid.ts";
import { checkInputs, inputsOf } from "./inputs.ts";
import type { Run } from "./run.ts";
import type { RunState } from "./run_folder.ts";
import { BEGINNING } from "./stage.ts";
import { fillStore } from "./weights.ts";

/** The state after an earlier call, the student's weights in place; undefined where there is none. */
export async function resumed(run: Run): Promise<RunState | undefined> {
  const { recipe, folder, origin, models, options } = run;
  const state = folder.state();
  if (state === undefined) return undefined;
  checkInputs(state.inputs, inputsOf(recipe, origin.teacher?.folder), folder.path);
  if (state.kept !== undefined) await becomeHybrid(run, state.kept.layers);
  if (models !== undefined) folder.loadStage(models.student.store);
  folder.trimLog(state);
  const { stage, progress: { step } } = state;
  const where = stage === recipe.stages.length
    ? "after the last stage"
    : `in stage ${stage + 1} of ${recipe.stages.length}, after step ${step}`;
  options.events.note(`resumed ${where}`);
  return state;
}

/** The first state of a run, the student's weights in place where it is held as a whole. */
export async function begun(run: Run): Promise<RunState> {
  const { recipe, origin, folder, models, options: { device } } = run;
  if (models !== undefined) {
    using initial = origin.initial(recipe.seed);
    await fillStore(device, models.student.store, initial);
  }
  const state: RunState = {
    run: hash(recipe),
    inputs: inputsOf(recipe, origin.teacher?.folder),
    stage: 0,
    progress: BEGINNING,
    elapsed: run.elapsed(),
    trainings: [],
    measures: [],
  };
  await folder.saveStage(state, models?.student.store);
  return state;
}
