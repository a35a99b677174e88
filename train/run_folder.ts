/**
 * The folder of a run in progress: tokens, telemetry, the checkpoint of the present stage and the
 * weights after each finished one. Whatever kills the run, what is in it is whole.
 */

import { join } from "node:path";
import { writeFileAtomic } from "../formats/atomic_file.ts";
import { FormatError } from "../formats/error.ts";
import { openSafetensors, type TensorStore } from "../formats/safetensors/store.ts";
import { type TensorSource, writeSafetensors } from "../formats/safetensors/write.ts";
import type { Store } from "../devices/store.ts";
import type { StageReport } from "./report.ts";

/** How far a run is. */
export interface RunState {
  /** Hash of the recipe and seed that the run belongs to. */
  readonly run: string;
  /** Index of the stage that is being trained. */
  readonly stage: number;
  /** Its steps that are done. */
  readonly step: number;
  /** Seconds spent on them. */
  readonly seconds: number;
  /** Seconds of the whole run so far, reading and measuring included. */
  readonly elapsed: number;
  /** The student before the first stage and after every finished one. */
  readonly reports: readonly StageReport[];
}

/** Stores in a checkpoint of a stage in progress. */
export interface TrainingStores {
  readonly weights: Store;
  readonly first: Store;
  readonly second: Store;
}

const KEY = "suture";

/** A run's folder. */
export interface RunFolder {
  readonly path: string;
  /** The latest state, or undefined for a run that has not begun. */
  state(): RunState | undefined;
  /** Writes the checkpoint of a stage in progress. */
  saveProgress(state: RunState, stores: TrainingStores): Promise<void>;
  /** Reads it back into the stores. */
  loadProgress(stores: TrainingStores): void;
  /** Writes the weights after a stage; `state` names the next one. */
  saveStage(state: RunState, tensors: readonly TensorSource[]): void;
  /** The weights after the last finished stage. */
  openStage(): TensorStore | undefined;
  /** Appends a line of telemetry. */
  log(line: unknown): void;
  /** Forgets telemetry of steps after the state's, which will be taken again. */
  trimLog(state: RunState): void;
  remove(): void;
}

/** One line of telemetry. */
interface LogLine {
  readonly stageIndex?: number;
  readonly step?: number;
}

function readState(path: string): RunState | undefined {
  let store: TensorStore;
  try {
    store = openSafetensors(path);
  } catch (error) {
    if (error instanceof FormatError && error.cause instanceof Deno.errors.NotFound) {
      return undefined;
    }
    throw error;
  }
  using file = store;
  return JSON.parse(file.metadata[KEY] ?? "null") ?? undefined;
}

function storeTensors(prefix: string, store: Store): Promise<TensorSource[]> {
  return Promise.all(store.layout.tensors.map(async ({ name, shape }) => ({
    name: `${prefix}${name}`,
    dtype: "F32" as const,
    shape,
    data: await store.read(name),
  })));
}

/** Opens or makes a run's folder. */
export function openRunFolder(path: string): RunFolder {
  const progress = join(path, "progress.safetensors");
  const finished = join(path, "stage.safetensors");
  const telemetry = join(path, "telemetry.jsonl");
  Deno.mkdirSync(path, { recursive: true });
  return {
    path,
    state: () => {
      const [done, now] = [readState(finished), readState(progress)];
      // Progress of a stage that has been finished since is of no use any more.
      return now !== undefined && now.stage >= (done?.stage ?? 0) ? now : done;
    },
    saveProgress: async (state, { weights, first, second }) => {
      const tensors = [
        ...await storeTensors("weights.", weights),
        ...await storeTensors("first.", first),
        ...await storeTensors("second.", second),
      ];
      writeSafetensors(progress, tensors, { format: "pt", [KEY]: JSON.stringify(state) });
    },
    loadProgress: ({ weights, first, second }) => {
      using file = openSafetensors(progress);
      for (const [prefix, store] of Object.entries({ weights, first, second })) {
        for (const { name } of store.layout.tensors) {
          store.write(name, file.readF32(`${prefix}.${name}`));
        }
      }
    },
    saveStage: (state, tensors) => {
      writeSafetensors(finished, tensors, { format: "pt", [KEY]: JSON.stringify(state) });
    },
    openStage: () => readState(finished) === undefined ? undefined : openSafetensors(finished),
    log: (line) => {
      const bytes = new TextEncoder().encode(`${JSON.stringify(line)}\n`);
      Deno.writeFileSync(telemetry, bytes, { append: true });
    },
    trimLog: ({ stage, step }) => {
      let text: string;
      try {
        text = Deno.readTextFileSync(telemetry);
      } catch {
        return;
      }
      const kept = text.split("\n").filter((line) => {
        try {
          const { stageIndex = 0, step: at = 0 } = JSON.parse(line) as LogLine;
          return stageIndex < stage || (stageIndex === stage && at <= step);
        } catch {
          return false;
        }
      });
      writeFileAtomic(telemetry, kept.map((line) => `${line}\n`).join(""));
    },
    remove: () => Deno.removeSync(path, { recursive: true }),
  };
}
