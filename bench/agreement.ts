/** Whether two devices agree on training steps and on decoding. */

import type { Device } from "../devices/device.ts";
import { openSession } from "../infer/session.ts";
import { decodeSpec, randomModel } from "./random_model.ts";
import { type BenchMixer, benchModels, type LayerMixer, type ShapeName, SHAPES } from "./shapes.ts";
import { prepareStep, type StepOptions } from "./train.ts";

/** Steps that are compared: the second one begins with what the first one made of the weights. */
const STEPS = 2;
/** Tokens of the prompt, taken in chunks of several lengths, and of what follows, one by one. */
const PROMPT = 128 + 16 + 3;
const TOKENS = 4;

/** Losses and gradient norms of the first steps, each number by itself. */
async function stepResults(
  device: Device,
  options: Omit<StepOptions, "steps" | "seconds">,
): Promise<(readonly [number])[]> {
  const { step, free } = await prepareStep(device, options);
  try {
    const results: [number][] = [];
    for (let i = 0; i < STEPS; i++) {
      const { loss, gradientNorm } = await step();
      results.push([loss], [gradientNorm]);
    }
    return results;
  } finally {
    free();
  }
}

/** The same of a shape that has a name. */
export function shapeStepResults(
  device: Device,
  { shape, mixer, stage }: { shape: ShapeName; mixer: BenchMixer; stage: 1 | 2 },
): Promise<(readonly [number])[]> {
  const { batch, context } = SHAPES[shape];
  return stepResults(device, { ...benchModels(SHAPES[shape], mixer), stage, batch, context });
}

/** The logits after a prompt and after some further tokens, the same on every device. */
export async function decodeResults(
  device: Device,
  { shape, mixer }: { shape: ShapeName; mixer: LayerMixer },
): Promise<readonly Float32Array[]> {
  const model = randomModel(device, decodeSpec(shape, mixer), "f32");
  const { vocabSize } = model.spec.config;
  const session = openSession(model);
  const id = (i: number) => (7919 * i + 1) % vocabSize;
  const logits = async (ids: readonly number[]) => (await session.advance([ids])).slice();
  try {
    const results = [await logits(Array.from({ length: PROMPT }, (_, i) => id(i)))];
    for (let i = 0; i < TOKENS; i++) results.push(await logits([id(PROMPT + i)]));
    return results;
  } finally {
    session.free();
    model.free();
  }
}
