import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Device } from "../../devices/device.ts";
import { createStore, layoutOf } from "../../devices/store.ts";
import { constant, linear } from "../../dsl/schedules.ts";
import { distill } from "../../dsl/stages.ts";
import { NotFiniteError } from "../../train/finite.ts";
import { BEGINNING, runStage, type StageRun, type StepEvent } from "../../train/stage.ts";
import type { TokenBatch, Trainer } from "../../train/trainer.ts";
import { withCpu } from "../support/devices.ts";

/** 5 steps of 2 × 16 tokens. */
const STAGE = distill({ tokens: 160, context: 16, batch: 2, warmup: 2, lr: linear(1, 0) });
const LAYOUT = layoutOf([{ name: "x", shape: [3] }, { name: "y", shape: [2] }]);

/** What a loop did, in order. */
interface Record {
  readonly calls: string[];
  readonly events: StepEvent[];
  readonly firstIds: number[];
  readonly rates: number[];
  readonly mixerRates: (number | undefined)[];
}

/** A trainer that computes nothing: losses are 1/step, gradients 1, unless told otherwise. */
function fakeTrainer(device: Device, { calls, firstIds, rates, mixerRates }: Record, changes: {
  readonly loss?: (backwardPass: number) => number;
  readonly norm?: (step: number) => number;
  readonly onBackward?: (trainer: Trainer, backwardPass: number) => void;
  readonly onUpdate?: (trainer: Trainer, step: number) => void;
}): Trainer {
  const store = () => createStore(device, LAYOUT);
  let passes = 0;
  const trainer: Trainer = {
    trained: store(),
    frozen: store(),
    gradients: store(),
    optimizer: { first: store(), second: store(), step: () => Promise.reject(), free: () => {} },
    flops: 0,
    arenaBytes: 0,
    backward: ({ ids }: TokenBatch) => {
      calls.push("backward");
      firstIds.push(ids[0]);
      passes++;
      changes.onBackward?.(trainer, passes);
      return Promise.resolve(changes.loss?.(passes) ?? 1 / passes);
    },
    update: (step, rate, mixerRate) => {
      calls.push(`update ${step}`);
      rates.push(rate);
      mixerRates.push(mixerRate);
      changes.onUpdate?.(trainer, step);
      return Promise.resolve(changes.norm?.(step) ?? 1);
    },
    step: () => Promise.reject(),
    profile: () => Promise.resolve([]),
    free: () => {},
  };
  return trainer;
}

/** Runs the loop with a trainer that computes nothing. */
async function loop(
  changes: Parameters<typeof fakeTrainer>[2] = {},
  options: Partial<StageRun> = {},
) {
  const record: Record = { calls: [], events: [], firstIds: [], rates: [], mixerRates: [] };
  return await withCpu({ threads: 1 }, async (device) => {
    const run = () =>
      runStage({
        stage: STAGE,
        trainer: fakeTrainer(device, record, changes),
        tokens: {
          length: 11 * 16 + 1,
          read: (start, count) => Int32Array.from({ length: count }, (_, i) => start + i),
        },
        samplesBefore: 0,
        progress: BEGINNING,
        onStep: (event) => void record.events.push(event),
        wantsCheckpoint: () => false,
        checkpoint: ({ step }) => {
          record.calls.push(`checkpoint ${step}`);
          return Promise.resolve();
        },
        wantsStop: () => false,
        ...options,
      });
    try {
      return { ...record, result: await run(), error: undefined };
    } catch (error) {
      return { ...record, result: undefined, error: error as Error };
    }
  });
}

/** Backward passes and updates from one step to another, and what ends a stage. */
const between = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => ["backward", `update ${from + i}`]).flat();

Deno.test("stage: every step by the schedule, told as it goes", async () => {
  const { calls, events, rates, result } = await loop();
  // The last backward pass looks at what the last update made.
  assertEquals(calls, [...between(0, 5), "backward"]);
  // Warm-up by 0.01 + 0.99·step/2 over two steps, then from 1 to 0 over three.
  assertEquals(rates.map((rate) => rate.toFixed(4)), [
    "0.0100",
    "0.5050",
    "1.0000",
    "0.6667",
    "0.3333",
  ]);
  assertEquals(events.map(({ step, steps, tokens }) => [step, steps, tokens]), [
    [1, 5, 32],
    [2, 5, 64],
    [3, 5, 96],
    [4, 5, 128],
    [5, 5, 160],
  ]);
  assertEquals(events.map(({ loss }) => loss), [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]);
  assert(
    events.every(({ stage, gradientNorm, tokensPerSecond }) =>
      stage === "distill" && gradientNorm === 1 && tokensPerSecond > 0
    ),
  );
  assertEquals(result?.stopped, false);
  assertEquals(result?.progress.step, 5);
  assertEquals(result?.progress.recent, events.map(({ loss }) => loss));
  assertEquals(result?.progress.seconds, events[4].seconds);
});

Deno.test("stage: mixers' own rate, with the same warm-up, told beside the other", async () => {
  const stage = { ...STAGE, lr: constant(1), mixerLr: linear(0.5, 0) };
  const { rates, mixerRates, events } = await loop({}, { stage });
  const text = (list: readonly (number | undefined)[]) => list.map((rate) => rate?.toFixed(4));
  assertEquals(text(rates), ["0.0100", "0.5050", "1.0000", "1.0000", "1.0000"]);
  assertEquals(text(mixerRates), ["0.0050", "0.2525", "0.5000", "0.3333", "0.1667"]);
  assertEquals(events.map((event) => event.learningRate), rates);
  assertEquals(events.map((event) => event.mixerLearningRate), mixerRates);
  const plain = await loop();
  assertEquals(plain.mixerRates, [undefined, undefined, undefined, undefined, undefined]);
  assert(plain.events.every((event) => !("mixerLearningRate" in event)));
});

Deno.test("stage: goes on with the step and the samples that come next", async () => {
  const whole = await loop();
  const progress = { step: 3, seconds: 100, recent: [5] };
  const { calls, events, firstIds, result } = await loop({}, { progress });
  assertEquals(calls, [...between(3, 5), "backward"]);
  assertEquals(firstIds, whole.firstIds.slice(3));
  assertEquals(events.map(({ step }) => step), [4, 5]);
  assert(events[0].seconds >= 100);
  assertEquals(result?.progress.recent, [5, 1, 1 / 2]);
});

Deno.test("stage: begins after the samples of earlier stages", async () => {
  const whole = await loop();
  const { firstIds } = await loop({}, { samplesBefore: 4 });
  assertEquals(firstIds.slice(0, 4), whole.firstIds.slice(2));
});

Deno.test("stage: a checkpoint is written when it is time, not before there is something", async () => {
  const { calls } = await loop({}, { wantsCheckpoint: () => true });
  const expected = between(0, 5).flatMap((call, i) =>
    call === "backward" && i > 0 ? [call, `checkpoint ${i / 2}`] : [call]
  );
  assertEquals(calls, [...expected, "backward"], "what the stage ends with is kept elsewhere");
});

Deno.test("stage: stops when it is asked to, with a checkpoint of all that is done", async () => {
  let asked = 0;
  const { calls, result } = await loop({}, { wantsStop: () => asked++ === 3 });
  assertEquals(calls, [...between(0, 3), "backward", "checkpoint 3"]);
  assertEquals([result?.stopped, result?.progress.step], [true, 3]);

  const progress = { step: 2, seconds: 1, recent: [] };
  const atOnce = await loop({}, { progress, wantsStop: () => true });
  assertEquals([atOnce.calls, atOnce.result], [[], { progress, stopped: true }]);

  const done = await loop({}, { progress: { ...progress, step: 5 }, wantsStop: () => true });
  assertEquals(done.result?.stopped, false, "there is nothing to stop any more");
});

Deno.test("stage: signals and timers have their turn", async () => {
  let fired = false;
  const stops: boolean[] = [];
  setTimeout(() => fired = true, 0);
  await loop({
    onUpdate: () => {
      for (const end = performance.now() + 3; performance.now() < end;);
    },
  }, {
    wantsStop: () => {
      stops.push(fired);
      return false;
    },
  });
  assertEquals(stops.at(-1), true);
});

function assertStops(error: Error | undefined, ...parts: readonly string[]): void {
  assert(error instanceof NotFiniteError, `${error}`);
  for (const part of parts) assert(error.message.includes(part), error.message);
}

Deno.test("stage: a loss that is not finite names stage, step and tensor; nothing is changed by it", async () => {
  for (const value of [NaN, Infinity, -Infinity]) {
    const { calls, error } = await loop({
      loss: (pass) => pass === 3 ? value : 1,
      onBackward: ({ gradients }, pass) =>
        pass === 3 && gradients.write("y", Float32Array.of(0, NaN)),
    }, { wantsCheckpoint: () => true });
    assertStops(
      error,
      `stage distill, step 3 of 5: the loss is ${value}`,
      "the first tensor that is not finite is the gradient of y",
      "The last good weights are kept, those of step 1.",
      "Lower the learning rate",
    );
    assertEquals(calls.at(-1), "backward");
    assert(!calls.includes("checkpoint 2"), "weights that give no loss are not kept");
  }
});

Deno.test("stage: weights that became infinite are named before what follows from them", async () => {
  const { error } = await loop({
    loss: (pass) => pass === 2 ? NaN : 1,
    onUpdate: ({ trained }) => trained.write("x", Float32Array.of(1, Infinity, 1)),
    onBackward: ({ gradients }, pass) =>
      pass === 2 && gradients.write("x", Float32Array.of(NaN, NaN, NaN)),
  });
  assertStops(error, "step 2 of 5", "is x.", "kept, the weights from before the stage");

  await withCpu({ threads: 1 }, async (device) => {
    const teacher = createStore(device, LAYOUT);
    teacher.write("y", Float32Array.of(-Infinity, 0));
    const { error } = await loop({ loss: () => NaN }, { teacher });
    assertStops(error, "step 1 of 5", "is the teacher's y.");
  });
});

Deno.test("stage: a gradient that is not finite stops before a checkpoint, and by its norm", async () => {
  const before = await loop({
    onBackward: ({ gradients }, pass) =>
      pass === 2 && gradients.write("x", Float32Array.of(0, Infinity, 0)),
  }, { wantsCheckpoint: () => true });
  assertStops(before.error, "step 2 of 5: a gradient is not finite", "is the gradient of x.");
  assertEquals(before.calls, ["backward", "update 0", "backward"]);

  const byNorm = await loop({
    norm: (step) => step === 1 ? NaN : 1,
    onBackward: ({ gradients }, pass) =>
      pass === 2 && gradients.write("y", Float32Array.of(NaN, 0)),
    onUpdate: ({ trained }, step) =>
      step === 1 && trained.write("x", new Float32Array(3).fill(NaN)),
  });
  assertStops(byNorm.error, "step 2 of 5: the gradient's norm is NaN", "is the gradient of y.");

  const tooLong = await loop({ norm: () => Infinity });
  assertStops(
    tooLong.error,
    "step 1 of 5: the gradient's norm is Infinity",
    "every tensor is finite",
  );
});

Deno.test("stage: what the last update made is looked at", async () => {
  const { error, events } = await loop({ loss: (pass) => pass === 6 ? NaN : 1 });
  assertEquals(events.length, 5);
  assertStops(error, "after the last step: the loss is NaN");
});

Deno.test("stage: other errors come through", async () => {
  await assertRejects(
    async () => {
      const { error } = await loop({
        onUpdate: () => {
          throw new Error("the disk is full");
        },
      });
      throw error;
    },
    Error,
    "the disk is full",
  );
});
