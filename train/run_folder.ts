/**
 * The folder of a run in progress: tokens, telemetry, the checkpoint of the present stage and the
 * weights after each finished one. Whatever kills the run, what is in it is whole. One process at a
 * time works in it.
 */

import { dirname, join } from "node:path";
import { writeFileAtomic } from "../formats/atomic_file.ts";
import { FormatError, systemError } from "../formats/error.ts";
import { exists, removeFile } from "../formats/files.ts";
import { LOCK_FILE, lockFolder } from "../formats/folder_lock.ts";
import { openSafetensors, type TensorStore } from "../formats/safetensors/store.ts";
import { type TensorSource, writeSafetensors } from "../formats/safetensors/write.ts";
import type { Store } from "../devices/store.ts";
import type { Input } from "./inputs.ts";
import type { KeptAttention, Measure, Training } from "./report.ts";
import type { StageProgress } from "./stage.ts";

/** How far a run is. */
export interface RunState {
  /** Hash of the recipe that the run belongs to. */
  readonly run: string;
  /** What is read again when it is resumed. */
  readonly inputs: readonly Input[];
  /** Stages that are finished, which is the index of the present one. */
  readonly stage: number;
  /** Where the present one is. */
  readonly progress: StageProgress;
  /** Seconds of the whole run so far, reading and measuring included. */
  readonly elapsed: number;
  /** The training of every finished stage. */
  readonly trainings: readonly Training[];
  /** The student before the first stage and after finished ones; the last may be still to come. */
  readonly measures: readonly Measure[];
  /** Layers that went back to attention, once they are found: the student is without their mixers. */
  readonly kept?: KeptAttention;
}

/** Stores in a checkpoint of a stage in progress. */
export interface TrainingStores {
  readonly weights: Store;
  readonly first: Store;
  readonly second: Store;
}

/** Key of the state in a checkpoint's metadata; another number for another form of RunState. */
const KEY = "suture.run.3";

/** A run's folder. Dispose it, so that another process can have it. */
export interface RunFolder extends Disposable {
  readonly path: string;
  /** The latest state, or undefined for a run that has not begun. */
  state(): RunState | undefined;
  /** Writes the checkpoint of a stage in progress; without stores where layers have their files. */
  saveProgress(state: RunState, stores?: TrainingStores): Promise<void>;
  /** Reads it back into the stores. */
  loadProgress(stores: TrainingStores): void;
  /** Writes the student between two stages; without weights where layers have their files. */
  saveStage(state: RunState, weights?: Store): Promise<void>;
  /** Reads it back. */
  loadStage(weights: Store): void;
  /** Appends a line of telemetry about a step of a stage, or before its first step. */
  log(
    stageIndex: number,
    line: { readonly step: number; readonly keptAttention?: KeptAttention },
  ): void;
  /** Forgets telemetry of steps after the state's, which will be taken again. */
  trimLog(state: RunState): void;
  /** Where a stage that goes layer by layer keeps its layers. */
  layers(stageIndex: number): string;
  /** Removes what an earlier run left. */
  clear(): void;
  /** Removes the folder. */
  remove(): void;
  /** Removes the folder, and those above it, where this call of `openRunFolder` made them. */
  discard(): void;
}

/** Files of the run's folder. */
export const TELEMETRY_FILE = "telemetry.jsonl";

function readState(path: string): RunState | undefined {
  let store: TensorStore;
  try {
    store = openSafetensors(path);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  using file = store;
  const text = file.metadata[KEY];
  if (text !== undefined) return JSON.parse(text);
  throw new FormatError({
    file: path,
    expected: "a checkpoint of this version of Suture",
    found: "another one",
    advice: "run it with --restart, which starts afresh",
  });
}

const isMissing = (error: unknown) =>
  error instanceof FormatError && error.cause instanceof Deno.errors.NotFound;

/** A store's tensors on the host. */
export function storeTensors(store: Store, prefix = ""): Promise<TensorSource[]> {
  return Promise.all(store.layout.tensors.map(async ({ name, shape }) => ({
    name: `${prefix}${name}`,
    dtype: "F32" as const,
    shape,
    data: await store.read(name),
  })));
}

function loadStore(file: TensorStore, store: Store, prefix = ""): void {
  for (const { name } of store.layout.tensors) store.write(name, file.readF32(prefix + name));
}

/** Makes a folder and those above it; returns those that were made, the innermost first. */
function makeFolders(path: string): string[] {
  const made: string[] = [];
  for (let at = path; dirname(at) !== at && !exists(at); at = dirname(at)) made.push(at);
  try {
    Deno.mkdirSync(path, { recursive: true });
  } catch (error) {
    removeEmptyFolders(made);
    throw systemError(path, "write", error);
  }
  return made;
}

function removeEmptyFolders(paths: readonly string[]): void {
  for (const path of paths) {
    try {
      Deno.removeSync(path);
    } catch {
      // It was not made, or something else has come into it meanwhile.
    }
  }
}

/**
 * Opens or makes a run's folder, and keeps other processes out of it.
 * @throws FormatError where another process works on it, or the system refuses.
 */
export function openRunFolder(path: string): RunFolder {
  const made = makeFolders(path);
  let locked: Deno.FsFile | undefined;
  try {
    locked = lockFolder(path);
  } catch (error) {
    removeEmptyFolders(made);
    throw error;
  }
  const progress = join(path, "progress.safetensors");
  const finished = join(path, "stage.safetensors");
  const telemetry = join(path, TELEMETRY_FILE);
  const metadata = (state: RunState) => ({ format: "pt", [KEY]: JSON.stringify(state) });
  const release = () => {
    locked?.close();
    locked = undefined;
  };
  const remove = () => {
    release();
    Deno.removeSync(path, { recursive: true });
  };
  return {
    path,
    state: () => {
      const [done, now] = [readState(finished), readState(progress)];
      // Progress of a stage that has been finished since is of no use any more.
      return now !== undefined && now.stage >= (done?.stage ?? 0) ? now : done;
    },
    saveProgress: async (state, stores) => {
      const tensors = stores === undefined ? [] : [
        ...await storeTensors(stores.weights, "weights."),
        ...await storeTensors(stores.first, "first."),
        ...await storeTensors(stores.second, "second."),
      ];
      writeSafetensors(progress, tensors, metadata(state));
    },
    loadProgress: ({ weights, first, second }) => {
      using file = openSafetensors(progress);
      loadStore(file, weights, "weights.");
      loadStore(file, first, "first.");
      loadStore(file, second, "second.");
    },
    saveStage: async (state, weights) => {
      const tensors = weights === undefined ? [] : await storeTensors(weights);
      writeSafetensors(finished, tensors, metadata(state));
      removeFile(progress);
    },
    loadStage: (weights) => {
      using file = openSafetensors(finished);
      loadStore(file, weights);
    },
    log: (stageIndex, line) => {
      const bytes = new TextEncoder().encode(`${JSON.stringify({ stageIndex, ...line })}\n`);
      try {
        Deno.writeFileSync(telemetry, bytes, { append: true });
      } catch (error) {
        throw systemError(telemetry, "write", error);
      }
    },
    trimLog: ({ stage, progress: { step }, kept }) => {
      const lines = readLines(telemetry).filter((line) => {
        const at = position(line);
        if (at === undefined || (at.keeps && kept === undefined)) return false;
        return at.stage < stage || (at.stage === stage && at.step <= step);
      });
      if (lines.length > 0) writeFileAtomic(telemetry, lines.map((line) => `${line}\n`).join(""));
      else removeFile(telemetry);
    },
    layers: (stageIndex) => join(path, `layers-${stageIndex}`),
    clear: () => {
      for (const { name } of Deno.readDirSync(path)) {
        if (name !== LOCK_FILE) Deno.removeSync(join(path, name), { recursive: true });
      }
    },
    remove,
    discard: () => {
      if (made.length === 0) return;
      remove();
      removeEmptyFolders(made.slice(1));
    },
    [Symbol.dispose]: release,
  };
}

function readLines(path: string): string[] {
  try {
    return Deno.readTextFileSync(path).split("\n");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw systemError(path, "read", error);
  }
}

/**
 * Which step a line of telemetry is about, and whether it tells of layers that keep attention;
 * undefined for one that was cut off.
 */
function position(line: string): { stage: number; step: number; keeps: boolean } | undefined {
  try {
    const { stageIndex, step, keptAttention } = JSON.parse(line);
    return { stage: stageIndex, step, keeps: keptAttention !== undefined };
  } catch {
    return undefined;
  }
}
