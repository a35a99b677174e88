/** A whole small conversion on the CUDA device (emulated driver), held against the CPU's. */

import { assert, assertEquals } from "@std/assert";
import { radRwkv6, radRwkv7 } from "../../dsl/mixers.ts";
import { layers } from "../../dsl/selectors.ts";
import { align, distill, finetune } from "../../dsl/stages.ts";
import type { Device } from "../../devices/device.ts";
import { temporaryFolder } from "../support/checkpoint.ts";
import { withCpu, withCuda } from "../support/devices.ts";
import { minuteRecipe, QUIET, run, steps } from "../train/support.ts";

/** Losses of every step and the perplexities of a conversion through all three stages. */
async function convert(device: Device, mixer: typeof radRwkv6 | typeof radRwkv7) {
  using temporary = temporaryFolder();
  const recipe = minuteRecipe(temporary.folder, {
    // The last layer keeps its attention, so that its gradient is needed too.
    surgery: [layers.first(1).to(mixer())],
    stages: [align(steps(4)), distill(steps(4)), finetune(steps(4))],
  });
  const losses: number[] = [];
  const step = ({ loss }: { readonly loss: number }) => void losses.push(loss);
  const report = await run(device, recipe, { events: { ...QUIET, step } });
  const perplexities = [report.untrained, ...report.stages].map(({ perplexity }) => perplexity);
  return { losses, perplexities };
}

/** Twelve steps of Adam add up what they round, and divide it by small second moments. */
const TOLERANCE = 1e-4;

for (const [name, mixer] of [["RAD-RWKV6", radRwkv6], ["RAD-RWKV7", radRwkv7]] as const) {
  Deno.test(`cuda: a conversion to ${name} has the CPU's losses at every step`, async () => {
    const cpu = await withCpu({ threads: 1 }, (device) => convert(device, mixer));
    const cuda = await withCuda((device) => convert(device, mixer));
    assertEquals(cuda.losses.length, 12);
    for (const key of ["losses", "perplexities"] as const) {
      cpu[key].forEach((expected, i) => {
        const apart = Math.abs(cuda[key][i] / expected - 1);
        assert(apart <= TOLERANCE, `${key} ${i}: ${cuda[key][i]}, on the CPU ${expected}`);
      });
    }
  });
}
