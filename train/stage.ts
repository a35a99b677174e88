/** The training loop of one stage. */

import { setImmediate } from "node:timers";
import type { Stage } from "../dsl/stages.ts";
import { stepsOf } from "../dsl/stages.ts";
import { learningRate, type Schedule } from "../dsl/schedules.ts";
import type { Store } from "../devices/store.ts";
import { batchReader, type TokenStream } from "./data.ts";
import { culpritIn, firstNotFinite, NotFiniteError } from "./finite.ts";
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
  /** The mixers' own, where the stage has one for them. */
  readonly mixerLearningRate?: number;
  /** Tokens of this stage so far. */
  readonly tokens: number;
  /** Seconds of this stage so far, earlier runs included. */
  readonly seconds: number;
  readonly tokensPerSecond: number;
}

/** Where a stage is. */
export interface StageProgress {
  /** Steps done. */
  readonly step: number;
  /** Seconds spent on them. */
  readonly seconds: number;
  /** Losses of the last steps. */
  readonly recent: readonly number[];
}

/** A stage of which nothing is done. */
export const BEGINNING: StageProgress = { step: 0, seconds: 0, recent: [] };

/** Steps whose losses are remembered. */
export const RECENT_STEPS = 20;

/** What the loop needs. */
export interface StageRun {
  readonly stage: Stage;
  readonly trainer: Trainer;
  /** The teacher's weights, where there is a teacher. */
  readonly teacher?: Store;
  readonly tokens: TokenStream;
  /** Samples that earlier stages have used, so that this one sees new text. */
  readonly samplesBefore: number;
  /** What is done already. */
  readonly progress: StageProgress;
  readonly onStep: (event: StepEvent) => void;
  /** Asked before every step. */
  readonly wantsCheckpoint: () => boolean;
  readonly checkpoint: (progress: StageProgress) => Promise<void>;
  /** Asked before every step: whether to write a checkpoint and leave. */
  readonly wantsStop: () => boolean;
}

/** How far the loop came. */
export interface StageResult {
  readonly progress: StageProgress;
  /** Whether it left because it was asked to. */
  readonly stopped: boolean;
}

/** Lets signals have their turn, which a loop over promises that are done never does. */
export const turn = () => new Promise<void>((resolve) => void setImmediate(resolve));

/** The first tensor with a value that is not finite; weights come before what follows from them. */
function culprit({ trainer, teacher }: StageRun, updated: boolean): Promise<string> {
  const { frozen, trained, gradients } = trainer;
  const weights = [["the teacher's ", teacher], ["", frozen], ["", trained]] as const;
  const gradient = ["the gradient of ", gradients] as const;
  // After the optimizer the weights follow from the gradients.
  return culpritIn(updated ? [gradient, ...weights] : [...weights, gradient]);
}

/**
 * Trains until the stage is done, or until it is asked to stop. A checkpoint is written, and the
 * stage ended, only with weights that have given a finite loss and gradient on the next batch.
 * @throws NotFiniteError
 */
export async function runStage(run: StageRun): Promise<StageResult> {
  const { stage, trainer, samplesBefore } = run;
  const steps = stepsOf(stage);
  const batchAt = batchReader(run.tokens, stage.context, stage.batch);
  let progress = run.progress;
  let kept = progress.step;
  const fail = async (what: string, updated: boolean) => {
    const checkpoint = kept === 0 ? "the weights from before the stage" : `those of step ${kept}`;
    const { step } = progress;
    const when = step === steps ? "after the last step" : `step ${step + 1} of ${steps}`;
    throw new NotFiniteError(
      `stage ${stage.name}, ${when}: ${what}; ` +
        `${await culprit(
          run,
          updated,
        )}. The last good weights are kept, ${checkpoint}. Lower the ` +
        "learning rate, lengthen the warm-up or clip more, and run the recipe again.",
    );
  };
  for (;;) {
    await turn();
    const { step } = progress;
    const done = step === steps;
    const stops = !done && run.wantsStop();
    if (stops && step === kept) return { progress, stopped: true };
    let start = performance.now();
    const loss = await trainer.backward(batchAt(samplesBefore + step * stage.batch + 1));
    let seconds = performance.now() - start;
    if (!Number.isFinite(loss)) await fail(`the loss is ${loss}`, false);
    if (done || stops || (step > kept && run.wantsCheckpoint())) {
      const gradient = await firstNotFinite(trainer.gradients);
      if (gradient !== undefined) await fail("a gradient is not finite", false);
      if (!done) await run.checkpoint(progress);
      kept = step;
    }
    if (done || stops) return { progress, stopped: stops };

    start = performance.now();
    const rateOf = (schedule: Schedule) => learningRate(schedule, step, steps, stage.warmup);
    const rate = rateOf(stage.lr);
    const mixerRate = stage.mixerLr && rateOf(stage.mixerLr);
    const gradientNorm = await trainer.update(step, rate, mixerRate);
    if (!Number.isFinite(gradientNorm)) await fail(`the gradient's norm is ${gradientNorm}`, true);
    seconds = (seconds + performance.now() - start) / 1000;
    progress = {
      step: step + 1,
      seconds: progress.seconds + seconds,
      recent: [...progress.recent, loss].slice(-RECENT_STEPS),
    };
    const tokensPerStep = stage.batch * stage.context;
    run.onStep({
      stage: stage.name,
      step: step + 1,
      steps,
      loss,
      gradientNorm,
      learningRate: rate,
      ...(mixerRate === undefined ? {} : { mixerLearningRate: mixerRate }),
      tokens: (step + 1) * tokensPerStep,
      seconds: progress.seconds,
      tokensPerSecond: tokensPerStep / seconds,
    });
  }
}
