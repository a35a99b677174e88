/** The training loop of one stage. */

import type { Stage } from "../dsl/stages.ts";
import { stepsOf } from "../dsl/stages.ts";
import { learningRate } from "../dsl/schedules.ts";
import type { Device } from "../devices/device.ts";
import { batchReader, type TokenStream } from "./data.ts";
import type { Store } from "../devices/store.ts";
import type { Trainer } from "./trainer.ts";

/** What one step did, for progress bars and telemetry. */
export interface StepEvent {
  readonly stage: string;
  /** Steps done, from 1. */
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  readonly gradientNorm: number;
  readonly learningRate: number;
  /** Tokens of this stage so far. */
  readonly tokens: number;
  /** Seconds of this stage so far, earlier runs included. */
  readonly seconds: number;
  readonly tokensPerSecond: number;
}

/** Training became meaningless: a loss or gradient that is not a number. */
export class NotFiniteError extends Error {
  override readonly name = "NotFiniteError";
}

/** Where a stage is. */
export interface StageProgress {
  /** Steps done. */
  step: number;
  /** Seconds spent on them. */
  seconds: number;
}

/** What the loop needs. */
export interface StageRun {
  readonly device: Device;
  readonly stage: Stage;
  readonly trainer: Trainer;
  readonly tokens: TokenStream;
  /** Samples that earlier stages have used, so that this one sees new text. */
  readonly samplesBefore: number;
  readonly progress: StageProgress;
  readonly onStep: (event: StepEvent) => void | Promise<void>;
  /** Asked after every step. */
  readonly wantsCheckpoint: (progress: StageProgress) => boolean;
  readonly checkpoint: (progress: StageProgress) => Promise<void>;
}

/** The first tensor of a store with a value that is not finite. */
async function firstNotFinite(store: Store): Promise<string | undefined> {
  for (const { name } of store.layout.tensors) {
    if (!(await store.read(name)).every(Number.isFinite)) return name;
  }
  return undefined;
}

async function fail({ stage, trainer, progress }: StageRun, loss: number, norm: number) {
  const gradient = await firstNotFinite(trainer.gradients);
  const what = gradient !== undefined
    ? `the gradient of ${gradient}`
    : Number.isFinite(loss)
    ? `the gradient's norm (${norm})`
    : `the loss (${loss})`;
  throw new NotFiniteError(
    `stage ${stage.name}, step ${progress.step + 1}: ${what} is not finite; the last checkpoint ` +
      "is kept: resume from it with a smaller learning rate or a longer warm-up",
  );
}

/** Trains until the stage is done. Throws NotFiniteError. */
export async function runStage(run: StageRun): Promise<void> {
  const { stage, trainer, progress, samplesBefore } = run;
  const steps = stepsOf(stage);
  const batchAt = batchReader(run.tokens, stage.context, stage.batch);
  while (progress.step < steps) {
    const start = performance.now();
    const { step } = progress;
    const rate = learningRate(stage.lr, step, steps, stage.warmup);
    const batch = batchAt(samplesBefore + step * stage.batch + 1);
    const { loss, gradientNorm } = await trainer.step(batch, step, rate);
    if (!Number.isFinite(loss) || !Number.isFinite(gradientNorm)) {
      await fail(run, loss, gradientNorm);
    }
    const seconds = (performance.now() - start) / 1000;
    progress.step++;
    progress.seconds += seconds;
    const tokensPerStep = stage.batch * stage.context;
    await run.onStep({
      stage: stage.name,
      step: progress.step,
      steps,
      loss,
      gradientNorm,
      learningRate: rate,
      tokens: progress.step * tokensPerStep,
      seconds: progress.seconds,
      tokensPerSecond: tokensPerStep / seconds,
    });
    if (progress.step < steps && run.wantsCheckpoint(progress)) await run.checkpoint(progress);
  }
}
