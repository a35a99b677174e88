/** Tokens a second of a training step, on random weights and random tokens. */

import type { Device } from "../devices/device.ts";
import { profiled } from "../devices/profiled.ts";
import { createStore, layoutOf } from "../devices/store.ts";
import { align, distill, finetune } from "../dsl/stages.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import { randomStream } from "../models/random.ts";
import { createTrainer } from "../train/trainer.ts";
import { type StepProfile, stepProfile } from "./profile.ts";
import { quickValues } from "./quick_values.ts";
import { type BenchMixer, benchModels, type ShapeName, SHAPES } from "./shapes.ts";
import { median } from "./timing.ts";

/** A step that is measured. */
export interface StepOptions {
  readonly teacher: ModelSpec;
  readonly student: ModelSpec;
  /** 1 aligns, 2 distils, 3 learns from the text alone. */
  readonly stage: 1 | 2 | 3;
  readonly batch: number;
  readonly context: number;
  /** Steps that are timed at most. */
  readonly steps: number;
  /** Time after which no further step begins, once three have been timed; no limit by default. */
  readonly seconds?: number;
}

/** What was measured. */
export interface StepBench {
  /** What computed. */
  readonly device: string;
  /** From the fastest step. */
  readonly tokensPerSecond: number;
  readonly medianTokensPerSecond: number;
  /** Of matrix products and everything else, forward and backward, from the fastest step. */
  readonly gflops: number;
  /** Operations of a step. */
  readonly flops: number;
  /** Of the fastest step. */
  readonly secondsPerStep: number;
  /** Bytes of weights, gradients, moments and activations. */
  readonly bytes: number;
  readonly profile?: StepProfile;
}

/** What is measured of a shape. */
export interface TrainBenchOptions extends Pick<StepOptions, "stage" | "steps" | "seconds"> {
  readonly shape: ShapeName;
  /** What every layer of the student has. */
  readonly mixer: BenchMixer;
}

const STAGES = { 1: align, 2: distill, 3: finetune } as const;

/** Steps before those that count, which run before the engine has optimised the kernels. */
const WARM_UP = 3;
/** Steps that are timed at least, as those of the peer (peer.py): the median is one of the middle. */
const LEAST_STEPS = 3;
/** Share of the time that they take at most, one step apart. */
const WARM_UP_SHARE = 1 / 3;

/** A step of random weights and random tokens that is ready on a device. */
export async function prepareStep(
  device: Device,
  { teacher, student, stage, batch, context }: Omit<StepOptions, "steps" | "seconds">,
) {
  using owned = new DisposableStack();
  const store = createStore(device, layoutOf(modelParameters(teacher)));
  owned.defer(store.free);
  for (const parameter of modelParameters(teacher)) {
    store.write(parameter.name, quickValues(parameter, 1));
  }
  const parameters = new Map(modelParameters(student).map((p) => [p.name, p]));
  const tokens = batch * context;
  const trainer = await createTrainer({
    device,
    stage: STAGES[stage]({ batch, context, tokens }),
    student,
    values: (name) => quickValues(parameters.get(name)!, 2),
    teacher: { spec: teacher, store },
  });
  owned.defer(trainer.free);
  const random = randomStream(3, "tokens");
  const ids = Int32Array.from(
    { length: tokens },
    () => Math.floor(random.uniform() * student.config.vocabSize),
  );
  let step = 0;
  const kept = owned.move();
  return {
    trainer,
    teacher: store,
    step: () => trainer.step({ ids, targets: ids }, step++, 1e-4),
    free: () => kept.dispose(),
  };
}

/** Runs a training step several times. With `profile` one more step is timed launch by launch. */
export async function benchStep(
  device: Device,
  { steps, seconds: limit = Infinity, ...options }: StepOptions,
  profile = false,
): Promise<StepBench> {
  let profiling = false;
  const found = Promise.withResolvers<StepProfile>();
  const own = profiled(
    device,
    () => profiling,
    (profile) => found.resolve(stepProfile(profile)),
  );
  const { trainer, teacher, step, free } = await prepareStep(own, options);
  const tokens = options.batch * options.context;
  const timed = async () => {
    const start = performance.now();
    await step();
    return (performance.now() - start) / 1000;
  };
  const total = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);
  const warm: number[] = [];
  while (warm.length < WARM_UP && total(warm) < limit * WARM_UP_SHARE) warm.push(await timed());
  const seconds: number[] = [];
  while (seconds.length < steps && (seconds.length < LEAST_STEPS || total(seconds) < limit)) {
    seconds.push(await timed());
  }
  if (profile) {
    profiling = true;
    await timed();
  }
  const best = Math.min(...seconds);
  const result: StepBench = {
    device: device.description,
    tokensPerSecond: tokens / best,
    medianTokensPerSecond: tokens / median(seconds),
    gflops: trainer.flops / best / 1e9,
    flops: trainer.flops,
    secondsPerStep: best,
    bytes: 4 * (teacher.layout.size + 4 * trainer.trained.layout.size +
          trainer.frozen.layout.size) + trainer.arenaBytes,
  };
  free();
  return profile ? { ...result, profile: await found.promise } : result;
}

/** The same at a shape that has a name. */
export function benchTrain(
  device: Device,
  { shape, mixer, ...options }: TrainBenchOptions,
  profile = false,
): Promise<StepBench> {
  const { batch, context } = SHAPES[shape];
  return benchStep(
    device,
    { ...benchModels(SHAPES[shape], mixer), batch, context, ...options },
    profile,
  );
}
