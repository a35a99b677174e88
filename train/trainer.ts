/** One stage's training step on a device: loss and gradients of a batch, then AdamW. */

import type { Device, Executable, Memory, ProfileRow } from "../devices/device.ts";
import { isTrained } from "../dsl/trains.ts";
import type { Stage } from "../dsl/stages.ts";
import * as g from "../graph/build.ts";
import { gradients } from "../graph/gradient.ts";
import { rematerialisedGradients } from "../graph/rematerialise.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import type { Parameter } from "../models/parameter.ts";
import { rotaryFrequencies, rotaryTables } from "../models/rotary.ts";
import { alignLoss, type Batch, distillLosses, type Model, textLosses } from "./losses.ts";
import { createOptimizer, type Optimizer } from "./optimizer.ts";
import { createStore, layoutOf, type Store, storeBindings, storeInputs } from "../devices/store.ts";

/** A model whose weights are in a store. */
export interface StoredModel {
  readonly spec: ModelSpec;
  readonly store: Store;
}

/** What a training step needs. */
export interface TrainerOptions {
  readonly device: Device;
  readonly stage: Stage;
  readonly student: ModelSpec;
  /** Values of the student's parameters before the stage. */
  readonly values: (name: string) => Float32Array | Promise<Float32Array>;
  /** The teacher, which align and distill need. */
  readonly teacher?: StoredModel;
}

/** Ids of a batch and, per token, the id that follows: [batch · context] each. */
export interface TokenBatch {
  readonly ids: Int32Array;
  readonly targets: Int32Array;
}

/** What a step found out. */
export interface StepResult {
  readonly loss: number;
  /** Norm of the gradient before clipping. */
  readonly gradientNorm: number;
}

/** A stage in progress. */
export interface Trainer {
  readonly trained: Store;
  readonly frozen: Store;
  readonly gradients: Store;
  readonly optimizer: Optimizer;
  /** FLOPs of the forward and backward pass of a whole batch. */
  readonly flops: number;
  /** Bytes of activations. */
  readonly arenaBytes: number;
  /** The loss and gradients of a batch, without changing the weights. */
  backward(batch: TokenBatch): Promise<number>;
  step(batch: TokenBatch, step: number, learningRate: number): Promise<StepResult>;
  /** Times every launch of the first part of a batch. */
  profile(batch: TokenBatch): ProfileRow[];
  free(): void;
}

/** The parameters that a stage reads: in stage 1 only those of converted layers. */
function stageParameters(stage: Stage, student: ModelSpec): Parameter[] {
  const all = modelParameters(student);
  if (stage.kind !== "align") return all;
  return all.filter(({ name, mixer }) => mixer && isConverted(student, name));
}

const isConverted = ({ mixers }: ModelSpec, name: string): boolean => {
  const layer = /^model\.layers\.(\d+)\./.exec(name)?.[1];
  return layer !== undefined && mixers[Number(layer)].kind !== "attention";
};

/** The parameters that a stage trains, in checkpoint order. */
export function trainedParameters(stage: Stage, student: ModelSpec): Parameter[] {
  return stageParameters(stage, student).filter(({ name, mixer }) =>
    isTrained(stage.trains, name, mixer && isConverted(student, name))
  );
}

/** The scalar loss of a batch, [1], and from where its forward pass can be computed again. */
function stageLoss(
  stage: Stage,
  batch: Batch,
  student: Model,
  teacher?: Model,
): { loss: Tensor; streams: readonly Tensor[] } {
  const { kind } = stage;
  switch (kind) {
    case "align":
      // Layers are independent of one another: each is done before the next one starts.
      return { loss: alignLoss(teacher!, student, batch), streams: [] };
    case "distill":
    case "finetune":
    case "pretrain": {
      const { losses, streams } = kind === "distill"
        ? distillLosses(teacher!, student, batch)
        : textLosses(student, batch);
      return { loss: g.meanAll(losses), streams };
    }
    default:
      return kind satisfies never;
  }
}

/** Prepares a stage. */
export async function createTrainer(options: TrainerOptions): Promise<Trainer> {
  const { device, stage, student, teacher } = options;
  const { context, accumulate } = stage;
  const rows = stage.batch / accumulate;
  const trainedList = trainedParameters(stage, student);
  const trainedNames = new Set(trainedList.map(({ name }) => name));
  const frozenList = stageParameters(stage, student).filter(({ name }) => !trainedNames.has(name));
  const trained = createStore(device, layoutOf(trainedList));
  const frozen = createStore(device, layoutOf(frozenList));
  const gradientStore = createStore(device, trained.layout);
  for (const { name } of trainedList) trained.write(name, await options.values(name));
  for (const { name } of frozenList) frozen.write(name, await options.values(name));

  const half = student.config.headDim / 2;
  const batch: Batch = {
    ids: g.input("ids", [rows, context], "i32"),
    targets: g.input("targets", [rows * context], "i32"),
    cosine: g.input("cosine", [1, context, half]),
    sine: g.input("sine", [1, context, half]),
  };
  const weights = new Map([...storeInputs(trained.layout, ""), ...storeInputs(frozen.layout, "")]);
  const teacherWeights = teacher && storeInputs(teacher.store.layout, "teacher.");
  const whole = stageLoss(
    stage,
    batch,
    { spec: student, weight: (name) => weights.get(name)! },
    teacher && { spec: teacher.spec, weight: (name) => teacherWeights!.get(name)! },
  );
  const loss = g.mul(whole.loss, 1 / accumulate);
  const wanted = trainedList.map(({ name }) => weights.get(name)!);
  const differentiated = stage.rematerialise
    ? rematerialisedGradients(loss, wanted, whole.streams)
    : gradients(loss, wanted);
  const results = [loss, ...differentiated];

  const memory = {
    ids: device.allocate(4 * rows * context),
    targets: device.allocate(4 * rows * context),
    cosine: device.allocate(4 * context * half),
    sine: device.allocate(4 * context * half),
  };
  const lossMemory = device.allocate(4);
  const positions = Array.from({ length: context }, (_, i) => i);
  const tables = rotaryTables(rotaryFrequencies(student.config), positions);
  device.write(memory.cosine, tables.cosine);
  device.write(memory.sine, tables.sine);

  const gradientBindings = storeBindings(gradientStore, "gradient.");
  const inputs: Record<string, Memory> = {
    ...memory,
    ...storeBindings(trained, ""),
    ...storeBindings(frozen, ""),
    ...(teacher && storeBindings(teacher.store, "teacher.")),
    ...gradientBindings,
    "gradient.loss": lossMemory,
  };
  const targets = [lossMemory, ...trainedList.map(({ name }) => gradientStore.at(name))];
  const first: Executable = device.compile(results, { inputs, results: targets });
  // Later parts of an accumulated batch add to what the earlier ones left.
  const names = ["loss", ...trainedList.map(({ name }) => name)];
  const more = accumulate === 1 ? undefined : device.compile(
    results.map((t, i) => g.add(g.input(`gradient.${names[i]}`, t.shape), t)),
    { inputs, results: targets },
  );
  const optimizer = createOptimizer(device, trained, gradientStore, stage);

  const writePart = ({ ids, targets }: TokenBatch, i: number) => {
    const part = rows * context;
    device.write(memory.ids, ids.subarray(i * part, (i + 1) * part));
    device.write(memory.targets, targets.subarray(i * part, (i + 1) * part));
  };
  const backward = async (batch: TokenBatch): Promise<number> => {
    for (let i = 0; i < accumulate; i++) {
      writePart(batch, i);
      (i === 0 ? first : more!).run();
    }
    const value = new Float32Array(1);
    await device.read(lossMemory, value);
    return value[0];
  };
  return {
    trained,
    frozen,
    gradients: gradientStore,
    optimizer,
    flops: accumulate * first.flops,
    arenaBytes: Math.max(first.arenaBytes, more?.arenaBytes ?? 0),
    backward,
    step: async (batch, step, learningRate) => {
      const loss = await backward(batch);
      return { loss, gradientNorm: await optimizer.step(step, learningRate) };
    },
    profile: (batch) => {
      writePart(batch, 0);
      return first.profile();
    },
    free: () => {
      first.free();
      more?.free();
      optimizer.free();
      [trained, frozen, gradientStore].forEach((store) => store.free());
      [...Object.values(memory), lossMemory].forEach(device.free);
    },
  };
}
