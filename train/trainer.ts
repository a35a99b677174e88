/** One stage's training step on a device: loss and gradients of a batch, then AdamW. */

import type { Bindings, Device, Executable, Memory, ProfileRow } from "../devices/device.ts";
import { createStore, type Layout, layoutOf, type Store, storeBindings } from "../devices/store.ts";
import type { Stage } from "../dsl/stages.ts";
import * as g from "../graph/build.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { ModelSpec } from "../models/config.ts";
import { rotaryFrequencies, rotaryTables } from "../models/rotary.ts";
import { createOptimizer, type Optimizer } from "./optimizer.ts";
import { convertedMixers, stageGraph, TEACHER_PREFIX } from "./stage_graph.ts";

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
  /**
   * Changes the weights by the gradients, as step number `step`; returns the gradient's norm. The
   * mixers' rate counts where the stage has one.
   */
  update(step: number, learningRate: number, mixerRate?: number): Promise<number>;
  /** Both. */
  step(
    batch: TokenBatch,
    step: number,
    learningRate: number,
    mixerRate?: number,
  ): Promise<StepResult>;
  /** Times every launch of the first part of a batch. */
  profile(batch: TokenBatch): Promise<ProfileRow[]>;
  free(): void;
}

/** Prepares a stage. */
export async function createTrainer(options: TrainerOptions): Promise<Trainer> {
  const { device, stage, student, teacher } = options;
  const { context, accumulate } = stage;
  const rows = stage.batch / accumulate;
  const graph = stageGraph(stage, student, teacher?.spec);
  using owned = new DisposableStack();
  const store = (layout: Layout): Store => owned.adopt(createStore(device, layout), free);
  const allocate = (bytes: number): Memory => owned.adopt(device.allocate(bytes), device.free);
  const compile = (results: readonly Tensor[], bindings: Bindings): Executable =>
    owned.adopt(device.compile(results, bindings), free);

  const trained = store(layoutOf(graph.trained));
  const frozen = store(layoutOf(graph.frozen));
  const gradientStore = store(trained.layout);
  for (const { layout, write } of [trained, frozen]) {
    for (const { name } of layout.tensors) write(name, await options.values(name));
  }

  const half = student.config.headDim / 2;
  const memory = {
    ids: allocate(4 * rows * context),
    targets: allocate(4 * rows * context),
    cosine: allocate(4 * context * half),
    sine: allocate(4 * context * half),
  };
  const lossMemory = allocate(4);
  const positions = Array.from({ length: context }, (_, i) => i);
  const tables = rotaryTables(rotaryFrequencies(student.config), positions);
  device.write(memory.cosine, tables.cosine);
  device.write(memory.sine, tables.sine);

  const inputs: Record<string, Memory> = {
    ...memory,
    ...storeBindings(trained, ""),
    ...storeBindings(frozen, ""),
    ...(teacher && storeBindings(teacher.store, TEACHER_PREFIX)),
    ...storeBindings(gradientStore, "gradient."),
    "gradient.loss": lossMemory,
  };
  const names = trained.layout.tensors.map(({ name }) => name);
  const results = [lossMemory, ...names.map((name) => gradientStore.at(name))];
  const first = compile(graph.results, { inputs, results });
  // Later parts of an accumulated batch add to what the earlier ones left.
  const sums = () =>
    graph.results.map((t, i) => g.add(g.input(`gradient.${["loss", ...names][i]}`, t.shape), t));
  const more = accumulate === 1 ? undefined : compile(sums(), { inputs, results });
  const mixers = new Set(convertedMixers(graph.trained, student).map(({ name }) => name));
  const isMixer = stage.mixerLr && ((name: string) => mixers.has(name));
  const optimizer = owned.adopt(
    createOptimizer(device, trained, gradientStore, stage, isMixer),
    free,
  );

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
  const kept = owned.move();
  return {
    trained,
    frozen,
    gradients: gradientStore,
    optimizer,
    flops: accumulate * first.flops,
    arenaBytes: Math.max(first.arenaBytes, more?.arenaBytes ?? 0),
    backward,
    update: optimizer.step,
    step: async (batch, step, learningRate, mixerRate) => {
      const loss = await backward(batch);
      return { loss, gradientNorm: await optimizer.step(step, learningRate, mixerRate) };
    },
    profile: (batch) => {
      writePart(batch, 0);
      return first.profile();
    },
    free: () => kept.dispose(),
  };
}

const free = (owned: { free(): void }) => owned.free();
