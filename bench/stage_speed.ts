/** How fast this machine trains, from a few steps of a small model: what its plans reckon with. */

import type { Device } from "../devices/device.ts";
import type { StageKind } from "../dsl/stages.ts";
import type { BenchMixer } from "./shapes.ts";
import { benchTrain } from "./train.ts";

/** Which steps stand for a stage; pretraining is a finetune of weights that are not there yet. */
const BENCHES = { align: 1, distill: 2, finetune: 3, pretrain: 3 } as const satisfies Readonly<
  Record<StageKind, 1 | 2 | 3>
>;

/** Steps that are timed. */
const STEPS = 8;

/**
 * FLOP/s of a training step of each of these stages, with this mixer in every layer; from the
 * fastest of a few steps, for others may be working too.
 */
export async function stageSpeeds(
  device: Device,
  kinds: readonly StageKind[],
  mixer: BenchMixer,
): Promise<Readonly<Partial<Record<StageKind, number>>>> {
  const speeds: Partial<Record<StageKind, number>> = {};
  for (const kind of new Set(kinds)) {
    const stage = BENCHES[kind];
    const { gflops } = await benchTrain(device, {
      shape: "quickstart",
      mixer,
      stage,
      steps: STEPS,
    });
    speeds[kind] = 1e9 * gflops;
  }
  return speeds;
}
