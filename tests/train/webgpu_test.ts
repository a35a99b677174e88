/** A conversion on the WebGPU device: what the CPU device makes of it, but for the last digits. */

import { assert, assertEquals } from "@std/assert";
import { temporaryFolder } from "../support/checkpoint.ts";
import { assertClose } from "../support/compare.ts";
import { withCpu, withWebgpu } from "../support/devices.ts";
import type { Device } from "../../devices/device.ts";
import { type RadRwkv6, radRwkv6, type RadRwkv7, radRwkv7 } from "../../dsl/mixers.ts";
import { layers } from "../../dsl/selectors.ts";
import { minuteRecipe, QUIET, run, weightsOf } from "./support.ts";
import { join } from "node:path";

/**
 * Losses apart, relative to the first: roundings of 1e-7 a sum, which AdamW's division by √v of
 * the first steps carries on.
 */
const LOSSES = 1e-4;
/** Ten steps of 1e-3 move a weight by at most 1e-2: a hundredth of that. */
const WEIGHTS = 1e-3;

const convert = (mixer: RadRwkv6 | RadRwkv7) => async (device: Device) => {
  using temporary = temporaryFolder();
  const losses: number[] = [];
  const recipe = minuteRecipe(temporary.folder, {
    surgery: [layers.all.to(mixer)],
  });
  const report = await run(device, recipe, {
    events: { ...QUIET, step: ({ loss }) => losses.push(loss) },
  });
  const weights = weightsOf(join(recipe.output, "model.safetensors"));
  return { losses, report, weights };
};

for (const mixer of [radRwkv6(), radRwkv7()]) {
  Deno.test(`webgpu: a conversion to ${mixer.kind} is what it is on the CPU`, async () => {
    const cpu = await withCpu({ threads: 1 }, convert(mixer));
    const gpu = await withWebgpu(convert(mixer));
    assertEquals(gpu.losses.length, 10);
    assertClose("losses", gpu.losses, cpu.losses, LOSSES);
    const perplexities = [gpu, cpu].map(({ report }) => [
      report.teacher!.perplexity,
      report.student.perplexity,
    ]);
    assertClose("perplexities", perplexities[0], perplexities[1], LOSSES);
    assert(gpu.weights.size > 0);
    for (const [name, values] of gpu.weights) {
      assertClose(name, values, cpu.weights.get(name)!, WEIGHTS);
    }
  });
}
