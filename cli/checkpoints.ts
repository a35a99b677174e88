/** Checkpoints that commands are given: by path, or by the name of a model on the hub. */

import { build, type Recipe } from "../dsl/recipe.ts";
import type { Source } from "../dsl/sources.ts";
import type { Checkpoint } from "../dsl/teachers.ts";
import { FormatError } from "../formats/error.ts";
import { exists } from "../formats/files.ts";
import { findCheckpoint, findConfig, locationText, parseLocation } from "../hub/find.ts";
import { type HubSettings, hubSettings } from "../hub/settings.ts";
import type { DownloadEvents, Needs } from "../hub/snapshot.ts";
import { checkWidths } from "../infer/checks.ts";
import { type Checkpoint as InspectedCheckpoint, inspectCheckpoint } from "../infer/loading.ts";
import { checkpointSpec } from "../plan/spec.ts";
import type { FolderOf } from "../train/sources.ts";
import { nearby } from "./nearby.ts";
import { type Progress, standardProgress } from "./terminal/progress.ts";

/** How the help calls a checkpoint's argument. */
export const CHECKPOINT = "a folder with config.json, model.safetensors and tokenizer.json, or " +
  "the name of a model, as in Qwen/Qwen2.5-0.5B-Instruct or NAME@REVISION";

/** What is shown of a download. */
export function downloadEvents(progress: Progress): DownloadEvents {
  return {
    progress: (file, bytes, total) => progress.bytes(`downloading ${file}`, bytes, total),
    note: progress.note,
  };
}

/**
 * The folder of a checkpoint that a command line names.
 * @param needs what of it must be there; by default all
 * @throws FormatError where there is none, with what to do.
 */
export async function checkpointFolder(
  text: string,
  say: (line: string) => void,
  needs?: Needs,
): Promise<string> {
  const progress = standardProgress(say);
  const location = parseLocation(text);
  try {
    const events = downloadEvents(progress);
    const { folder, commit } = await findCheckpoint(location, { events, needs });
    const meant = exists(folder) ? undefined : nearby(folder);
    if (meant !== undefined) {
      const [expected, found] = ["a folder", "no such file or folder"];
      throw new FormatError({ file: folder, expected, found, advice: `did you mean ${meant}?` });
    }
    if (commit !== undefined) say(`${locationText(location)} at commit ${commit}`);
    return folder;
  } catch (error) {
    throw error instanceof FormatError ? withNearby(error, text) : error;
  } finally {
    progress.end();
  }
}

/** What went wrong with a checkpoint, and the folder that may have been meant. */
function withNearby(error: FormatError, text: string): FormatError {
  const meant = exists(text) ? undefined : nearby(text);
  const [first, ...others] = error.problems;
  if (meant === undefined || first.advice === undefined) return error;
  const advice = `did you mean ${meant}? Otherwise ${first.advice}`;
  return new FormatError([{ ...first, advice }, ...others]);
}

/** A recipe whose checkpoints are on this machine. */
export interface LocalRecipe {
  /** The recipe, where every revision of a named model is the commit that it means now. */
  readonly recipe: Recipe;
  readonly folderOf: FolderOf;
}

/** The recipe with another checkpoint in place of each. */
function withCheckpoints(recipe: Recipe, change: (checkpoint: Checkpoint) => Checkpoint): Recipe {
  const { teacher, stages, data } = recipe;
  const changed = (sources: readonly Source[]) =>
    sources.map((source) =>
      source.kind === "samples" ? { ...source, teacher: change(source.teacher) } : source
    );
  return build({
    ...recipe,
    teacher: teacher.kind === "checkpoint" ? change(teacher) : teacher,
    data: changed(data),
    stages: stages.map((stage) =>
      stage.data === undefined ? stage : { ...stage, data: changed(stage.data) }
    ),
  });
}

/**
 * Finds, and downloads where need be, every checkpoint that a recipe names: its teacher and those
 * that write samples.
 * @throws FormatError where there is none, with what to do.
 */
export async function localRecipe(recipe: Recipe, progress: Progress): Promise<LocalRecipe> {
  const wanted = new Map<string, Checkpoint>();
  withCheckpoints(recipe, (checkpoint) => {
    wanted.set(locationText(checkpoint), checkpoint);
    return checkpoint;
  });
  const folders = new Map<string, string>();
  const commits = new Map<string, string>();
  for (const [text, checkpoint] of wanted) {
    const found = await findCheckpoint(checkpoint, { events: downloadEvents(progress) });
    const { folder, commit } = found;
    folders.set(text, folder);
    if (commit === undefined) continue;
    progress.note(`${text} at commit ${commit}`);
    commits.set(text, commit);
    folders.set(locationText({ ...checkpoint, revision: commit }), folder);
  }
  return {
    recipe: commits.size === 0 ? recipe : withCheckpoints(recipe, (checkpoint) => {
      const revision = commits.get(locationText(checkpoint));
      return revision === undefined ? checkpoint : { ...checkpoint, revision };
    }),
    folderOf: (checkpoint) => folders.get(locationText(checkpoint)) ?? checkpoint.location,
  };
}

/**
 * What a teacher is, for a plan: its config and headers, or the config alone of a model that is on
 * the hub and not on this machine.
 * @throws FormatError for all that is wrong with it.
 */
export async function inspectTeacher(
  teacher: Checkpoint,
  settings: () => HubSettings = hubSettings,
): Promise<InspectedCheckpoint> {
  const found = await findConfig(teacher, settings);
  if (found.config === undefined) return inspectCheckpoint(found.folder);
  const { config } = found;
  const file = `${locationText(teacher)}/config.json`;
  checkWidths(file, config);
  if ("loraRankDecay" in config && config.loraRankDecay === null) {
    throw new FormatError({
      file,
      at: "lora_rank_decay",
      expected: "a rank, since the weights that would tell it are not on this machine",
      found: "none",
      advice: `download the model: deno task fetch ${locationText(teacher)}`,
    });
  }
  return { folder: teacher.location, config, spec: checkpointSpec(config, new Map()) };
}
