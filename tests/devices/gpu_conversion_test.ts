/** A whole small conversion on both GPU devices: what the CPU makes of it, but for the last digits. */

import { join } from "node:path";
import { assert, assertEquals } from "@std/assert";
import type { Device } from "../../devices/device.ts";
import { radRwkv6, radRwkv7 } from "../../dsl/mixers.ts";
import { layers } from "../../dsl/selectors.ts";
import { align, distill, finetune } from "../../dsl/stages.ts";
import { temporaryFolder } from "../support/checkpoint.ts";
import { assertClose } from "../support/compare.ts";
import { withCpu, withCuda, withWebgpu } from "../support/devices.ts";
import { minuteRecipe, QUIET, run, steps, weightsOf } from "../train/support.ts";

const MIXERS = { "RAD-RWKV6": radRwkv6, "RAD-RWKV7": radRwkv7 } as const;
const GPUS = { webgpu: withWebgpu, cuda: withCuda } as const;

/**
 * Losses and perplexities apart, each relative to the CPU's: roundings of 1e-7 a sum, which AdamW's
 * division by √v of the first steps carries on.
 */
const LOSSES = 1e-4;
/** Twelve steps of 1e-3 move a weight by at most 1.2e-2: less than a tenth of that. */
const WEIGHTS = 1e-3;

/** Losses of every step, perplexities and weights of a conversion through all three stages. */
const convert = (mixer: typeof MIXERS[keyof typeof MIXERS]) => async (device: Device) => {
  using temporary = temporaryFolder();
  const recipe = minuteRecipe(temporary.folder, {
    // The last layer keeps its attention, so that its gradient is needed too.
    surgery: [layers.first(1).to(mixer())],
    stages: [align(steps(4)), distill(steps(4)), finetune(steps(4))],
  });
  const losses: number[] = [];
  const step = ({ loss }: { readonly loss: number }) => void losses.push(loss);
  const report = await run(device, recipe, { events: { ...QUIET, step } });
  const perplexities = [report.teacher!, report.untrained, ...report.stages].map(
    ({ perplexity }) => perplexity,
  );
  return { losses, perplexities, weights: weightsOf(join(recipe.output, "model.safetensors")) };
};

for (const [name, mixer] of Object.entries(MIXERS)) {
  let onCpu: ReturnType<ReturnType<typeof convert>> | undefined;
  for (const [gpu, withGpu] of Object.entries(GPUS)) {
    Deno.test(`${gpu}: a conversion to ${name} is what it is on the CPU`, async () => {
      const cpu = await (onCpu ??= withCpu({ threads: 1 }, convert(mixer)));
      const found = await withGpu(convert(mixer));
      assertEquals(found.losses.length, 12);
      for (const key of ["losses", "perplexities"] as const) {
        const ratios = found[key].map((value, i) => value / cpu[key][i]);
        assertClose(key, ratios, ratios.map(() => 1), LOSSES);
      }
      assert(found.weights.size > 0);
      for (const [name, values] of found.weights) {
        assertClose(name, values, cpu.weights.get(name)!, WEIGHTS);
      }
    });
  }
}
