/** Bytes that a training step takes, on random weights and random tokens. */

import type { Device } from "../devices/device.ts";
import { processPeak } from "../devices/process_memory.ts";
import { createStore, layoutOf } from "../devices/store.ts";
import { align, distill, finetune, type Stage } from "../dsl/stages.ts";
import { modelParameters } from "../models/decoder.ts";
import { randomStream } from "../models/random.ts";
import { teacherParameters } from "../train/teacher.ts";
import { createTrainer } from "../train/trainer.ts";
import { quickValues } from "./quick_values.ts";
import { type BenchMixer, benchModels, type ShapeName, SHAPES } from "./shapes.ts";

/** What is measured. */
export interface MemoryBenchOptions {
  readonly shape: ShapeName;
  /** What every layer of the student has. */
  readonly mixer: BenchMixer;
  /** 1 aligns, 2 distils, 3 learns from the text alone. */
  readonly stage: 1 | 2 | 3;
  readonly context: number;
  readonly batch: number;
  readonly accumulate: number;
  readonly rematerialise: boolean;
  readonly steps: number;
}

/** What was measured. */
export interface MemoryBench {
  /** Bytes that the device had in use at once, at most. */
  readonly device: number;
  /** Bytes of the process at its largest. */
  readonly process: number;
  /** Of the fastest step. */
  readonly seconds: number;
  readonly loss: number;
}

const STAGES = { 1: align, 2: distill, 3: finetune } as const;

/** The stage of a bench. */
export function benchStage(options: MemoryBenchOptions): Stage {
  const { stage, context, batch, accumulate, rematerialise } = options;
  return STAGES[stage]({ context, batch, accumulate, rematerialise, tokens: batch * context });
}

/** Runs some steps. The teacher is in bf16, as checkpoints are. */
export async function benchMemory(
  device: Device,
  options: MemoryBenchOptions,
): Promise<MemoryBench> {
  const { teacher: spec, student } = benchModels(SHAPES[options.shape], options.mixer);
  const stage = benchStage(options);
  const { batch, context } = stage;
  using owned = new DisposableStack();
  const layout = layoutOf(teacherParameters(spec, () => "BF16"));
  const store = owned.adopt(createStore(device, layout), (store) => store.free());
  for (const parameter of modelParameters(spec)) {
    store.write(parameter.name, quickValues(parameter, 1));
  }
  const parameters = new Map(modelParameters(student).map((p) => [p.name, p]));
  const trainer = owned.adopt(
    await createTrainer({
      device,
      stage,
      student,
      values: (name) => quickValues(parameters.get(name)!, 2),
      teacher: { spec, store },
    }),
    (trainer) => trainer.free(),
  );
  const random = randomStream(3, "tokens");
  const ids = Int32Array.from(
    { length: batch * context },
    () => Math.floor(random.uniform() * spec.config.vocabSize),
  );
  let seconds = Infinity;
  let loss = NaN;
  for (let step = 0; step < options.steps; step++) {
    const start = performance.now();
    ({ loss } = await trainer.step({ ids, targets: ids }, step, 1e-4));
    seconds = Math.min(seconds, (performance.now() - start) / 1000);
  }
  return { device: device.memoryUse().peak, process: processPeak(), seconds, loss };
}
