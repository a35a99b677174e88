/** Tokens a second of a training step, on random weights and random tokens. */

import type { Device, ProfileRow } from "../devices/device.ts";
import { createStore, layoutOf } from "../devices/store.ts";
import { align, distill, finetune } from "../dsl/stages.ts";
import { modelParameters } from "../models/decoder.ts";
import { initialValues } from "../models/initial_values.ts";
import { randomStream } from "../models/random.ts";
import { createTrainer } from "../train/trainer.ts";
import { type BenchMixer, benchModels, type ShapeName, SHAPES } from "./shapes.ts";

/** What is measured. */
export interface TrainBenchOptions {
  readonly shape: ShapeName;
  /** What every layer of the student has. */
  readonly mixer: BenchMixer;
  /** 1 aligns, 2 distils, 3 learns from the text alone. */
  readonly stage: 1 | 2 | 3;
  readonly steps: number;
}

/** What was measured. */
export interface TrainBench {
  readonly shape: ShapeName;
  readonly stage: 1 | 2 | 3;
  /** From the fastest step, as the peers are measured. */
  readonly tokensPerSecond: number;
  readonly medianTokensPerSecond: number;
  /** Of matrix products and everything else, forward and backward. */
  readonly gflops: number;
  readonly secondsPerStep: number;
  /** Bytes of weights, gradients, moments and activations. */
  readonly bytes: number;
  readonly profile?: readonly ProfileRow[];
}

const STAGES = { 1: align, 2: distill, 3: finetune } as const;

/** Runs a training step several times. With `profile` one more step is timed launch by launch. */
export async function benchTrain(
  device: Device,
  { shape, mixer, stage, steps }: TrainBenchOptions,
  profile = false,
): Promise<TrainBench> {
  const { batch, context, config } = SHAPES[shape];
  const { teacher, student } = benchModels(SHAPES[shape], mixer);
  const teacherStore = createStore(device, layoutOf(modelParameters(teacher)));
  for (const parameter of modelParameters(teacher)) {
    teacherStore.write(parameter.name, initialValues(parameter, 1));
  }
  const parameters = new Map(modelParameters(student).map((p) => [p.name, p]));
  const options = { batch, context, tokens: batch * context };
  const trainer = await createTrainer({
    device,
    stage: STAGES[stage](options),
    student,
    values: (name) => initialValues(parameters.get(name)!, 2),
    teacher: { spec: teacher, store: teacherStore },
  });
  const random = randomStream(3, "tokens");
  const ids = Int32Array.from(
    { length: batch * context },
    () => Math.floor(random.uniform() * config.vocabSize),
  );
  const seconds: number[] = [];
  for (let step = 0; step < steps + 3; step++) {
    const start = performance.now();
    await trainer.step({ ids, targets: ids }, step, 1e-4);
    // The first steps run before the engine has optimised the kernels.
    if (step >= 3) seconds.push((performance.now() - start) / 1000);
  }
  seconds.sort((a, b) => a - b);
  const [best] = seconds;
  const tokens = batch * context;
  const result: TrainBench = {
    shape,
    stage,
    tokensPerSecond: tokens / best,
    medianTokensPerSecond: tokens / seconds[seconds.length >> 1],
    gflops: trainer.flops / best / 1e9,
    secondsPerStep: best,
    bytes: 4 * (teacherStore.layout.size + 4 * trainer.trained.layout.size +
          trainer.frozen.layout.size) + trainer.arenaBytes,
    ...(profile ? { profile: await trainer.profile({ ids, targets: ids }) } : {}),
  };
  trainer.free();
  teacherStore.free();
  return result;
}
