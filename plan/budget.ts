/**
 * Memory, time and money of a stage on a fleet. Pure arithmetic over what was counted.
 *
 * What is assumed where a fleet has several devices: everything that training keeps is sharded over
 * all of them (FSDP, ZeRO stage 3), sequences are divided among them, and two layers are gathered
 * whole at a time, the one that computes and the next.
 */

import { type Stage, stepsOf } from "../dsl/stages.ts";
import type { ComputeType, Fleet } from "./fleets.ts";

/** What a stage was counted to be, whatever it runs on. Parameters are numbers of values. */
export interface StageSize {
  readonly stage: Stage;
  /** FLOPs of one sequence, forward and backward; with what is computed again. */
  readonly flops: number;
  /** Bytes of the f32 activations of one sequence, kept, and computed again. */
  readonly activations: { readonly kept: number; readonly rematerialised: number };
  /** Bytes of the head and its loss in f32, which every device holds once. */
  readonly head: number;
  /** Parameters that the stage changes, and those of the student that it only reads. */
  readonly trained: number;
  readonly frozen: number;
  /** Of the whole student and teacher; 0 where there is no teacher. */
  readonly student: number;
  readonly teacher: number;
  /** Bytes of the teacher as this machine keeps it. */
  readonly teacherBytes: number;
  /** Whether the stage computes the teacher. */
  readonly usesTeacher: boolean;
  /** The largest part that is gathered at once: a layer, or the embeddings. */
  readonly largest: number;
  /** The largest layer of a stage that goes layer by layer. */
  readonly streamed?: StreamedSize;
  /** Layers of the student. */
  readonly layers: number;
}

/** What a stage that goes layer by layer has in memory of a layer, in values. */
export interface StreamedSize {
  readonly trained: number;
  /** What is only read, of the student and of the teacher. */
  readonly frozen: number;
  /** Bytes of the f32 activations of one sequence, what goes in and comes out included. */
  readonly activations: number;
  /** Whether both models stay on disk: all stages of the recipe go layer by layer. */
  readonly alone: boolean;
}

/** Bytes of one device. */
export interface StageMemory {
  readonly weights: number;
  readonly gradients: number;
  /** AdamW's two moments, and the f32 weights where the others are narrower. */
  readonly optimizer: number;
  /** As the recipe asks for them. */
  readonly activations: number;
  /** If they were kept, and if they were computed again. */
  readonly kept: number;
  readonly rematerialised: number;
  /** Layers that are gathered whole on each of several devices. */
  readonly gathered: number;
  /** What this machine's process takes beside the device's memory. */
  readonly process: number;
  readonly total: number;
}

/** A stage on a fleet. */
export interface StageBudget {
  readonly flops: number;
  readonly memory: StageMemory;
  readonly fits: boolean;
  /** What to change where it does not fit. */
  readonly advice?: string;
  readonly seconds: number;
  /** Whether the memory's bandwidth decides the time. */
  readonly bandwidthBound: boolean;
  readonly dollars: number;
}

/** Bytes of a value. */
export const BYTES: Readonly<Record<ComputeType, number>> = { bf16: 2, f32: 4 };
/** Bytes of AdamW for a trained parameter: two f32 moments, and an f32 weight beside a bf16 one. */
export const OPTIMIZER: Readonly<Record<ComputeType, number>> = { bf16: 12, f32: 8 };
/** Bytes of Deno and of this program, and of the graph of a layer and its kernels, measured. */
const PROCESS = 100 * 2 ** 20;
const PROCESS_LAYER = 6 * 2 ** 20;
/** Passes over a trained model's weights: forward, and backward for inputs and for weights. */
const PASSES = 3;

/** Sequences that a device computes at once. */
export function sequences(
  { batch, accumulate }: Stage,
  { devices }: Pick<Fleet, "devices">,
): number {
  return Math.ceil(batch / accumulate / devices);
}

/** What the memory of a fleet's devices depends on. */
export type MemoryFleet = Pick<Fleet, "devices" | "computes" | "holdsModels">;

/** This machine, on which a run holds both models beside what it trains. */
export const THIS_MACHINE: MemoryFleet = { devices: 1, computes: "f32", holdsModels: true };

/** Bytes of this machine's process beside those of its device. */
const processBytes = ({ layers }: StageSize) => PROCESS + layers * PROCESS_LAYER;

/** Bytes of this machine while a stage goes layer by layer. */
function streamedMemory(size: StageSize, streamed: StreamedSize, fleet: MemoryFleet): StageMemory {
  const { trained, frozen, alone } = streamed;
  const width = BYTES[fleet.computes];
  const held = alone ? 0 : width * size.student + size.teacherBytes;
  const weights = width * (trained + frozen) + held;
  const gradients = width * trained;
  const optimizer = OPTIMIZER[fleet.computes] * trained;
  const activations = sequences(size.stage, fleet) * streamed.activations;
  const process = processBytes(size);
  const total = weights + gradients + optimizer + activations + process;
  const [kept, rematerialised, gathered] = [activations, activations, 0];
  return {
    ...{ weights, gradients, optimizer, activations, kept, rematerialised, gathered },
    ...{ process, total },
  };
}

/** Bytes of every device while a stage runs. */
export function stageMemory(size: StageSize, fleet: MemoryFleet): StageMemory {
  // A rented fleet shares the whole of both models among its devices.
  if (size.streamed !== undefined && fleet.holdsModels) {
    return streamedMemory(size, size.streamed, fleet);
  }
  const { stage, trained, frozen, student, teacher, usesTeacher, largest } = size;
  const width = BYTES[fleet.computes];
  const weights = fleet.holdsModels
    ? width * (trained + frozen + student) + size.teacherBytes
    : width * (trained + frozen + (usesTeacher ? teacher : 0)) / fleet.devices;
  const gradients = width * trained / fleet.devices;
  const optimizer = OPTIMIZER[fleet.computes] * trained / fleet.devices;
  // They are counted in f32.
  const bytes = (sequence: number) =>
    (sequences(stage, fleet) * sequence + size.head) * width / BYTES.f32;
  const kept = bytes(size.activations.kept);
  const rematerialised = bytes(size.activations.rematerialised);
  const activations = stage.rematerialise ? rematerialised : kept;
  const gathered = fleet.devices === 1 ? 0 : 2 * width * largest;
  const process = fleet.holdsModels ? processBytes(size) : 0;
  const total = weights + gradients + optimizer + activations + gathered + process;
  return {
    ...{ weights, gradients, optimizer, activations, kept, rematerialised, gathered },
    ...{ process, total },
  };
}

const fits = (size: StageSize, fleet: Fleet) => stageMemory(size, fleet).total <= fleet.memory;

/** The same stage with another setting. */
function changed(size: StageSize, change: Partial<Pick<Stage, "rematerialise" | "accumulate">>) {
  return { ...size, stage: { ...size.stage, ...change } };
}

/** The fewest parts of a batch with at most one sequence a device. */
function mostParts({ batch }: Stage, { devices }: Fleet): number {
  for (let parts = Math.ceil(batch / devices); parts < batch; parts++) {
    if (batch % parts === 0) return parts;
  }
  return batch;
}

/** More devices than this are not proposed. */
const DEVICES_LIMIT = 4096;

/** The knob that makes a stage fit, the cheapest first. */
function adviceFor(size: StageSize, fleet: Fleet): string {
  const { stage } = size;
  const accumulate = mostParts(stage, fleet);
  const again = changed(size, { rematerialise: true });
  if (!stage.rematerialise && stage.kind !== "align" && fits(again, fleet)) {
    return "rematerialise: true makes it fit";
  }
  const parts = changed(size, { accumulate });
  if (accumulate > stage.accumulate && fits(parts, fleet)) {
    return `accumulate: ${accumulate} makes it fit`;
  }
  const both = changed(again, { accumulate: Math.max(accumulate, stage.accumulate) });
  if (fits(both, fleet)) {
    return `accumulate: ${both.stage.accumulate} with rematerialise: true makes it fit`;
  }
  if (fleet.holdsModels && stage.kind === "align" && size.streamed === undefined) {
    return "streamed: true, in a recipe of its own, needs the memory of one layer";
  }
  if (!fleet.holdsModels) {
    for (let devices = 2 * fleet.devices; devices <= DEVICES_LIMIT; devices *= 2) {
      const larger = { ...fleet, devices };
      if (fits(changed(both, { accumulate: mostParts(stage, larger) }), larger)) {
        const only = stage.kind === "align" ? "" : ", or trains less: trains: match(…)";
        return `it needs ${devices} of these devices, with rematerialise: true and one sequence ` +
          `a device${only}`;
      }
    }
  }
  return "it does not fit with any batch: use a fleet with more memory (--on) or a smaller teacher";
}

/** Seconds that the memory needs at least: weights for every part, the optimizer once a step. */
function bandwidthSeconds(size: StageSize, fleet: Fleet): number {
  if (fleet.bandwidth === undefined) return 0;
  const { stage, trained, frozen, teacher, usesTeacher } = size;
  const width = BYTES[fleet.computes];
  const part = width * (PASSES * (trained + frozen) + (usesTeacher ? teacher : 0));
  const update = 2 * (OPTIMIZER[fleet.computes] + width) * trained / fleet.devices;
  return stepsOf(stage) * (stage.accumulate * part + update) / fleet.bandwidth;
}

/** What a stage takes of a fleet. */
export function stageBudget(size: StageSize, fleet: Fleet): StageBudget {
  const { stage } = size;
  const flops = size.flops * stage.batch * stepsOf(stage);
  // Devices wait for the ones that have a sequence more.
  const turns = stepsOf(stage) * stage.accumulate * sequences(stage, fleet);
  const computing = turns * size.flops / fleet.speed[stage.kind];
  const moving = bandwidthSeconds(size, fleet);
  const seconds = Math.max(computing, moving);
  const memory = stageMemory(size, fleet);
  const enough = memory.total <= fleet.memory;
  return {
    flops,
    memory,
    fits: enough,
    ...(enough ? {} : { advice: adviceFor(size, fleet) }),
    seconds,
    bandwidthBound: moving > computing,
    dollars: seconds / 3600 * fleet.devices * fleet.price,
  };
}
