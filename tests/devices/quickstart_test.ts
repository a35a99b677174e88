/** The quickstart's recipe on both GPU devices, held against the CPU's losses. */

import { assertEquals } from "@std/assert";
import type { Device } from "../../devices/device.ts";
import quickstart from "../../recipes/quickstart.ts";
import { temporaryFolder } from "../support/checkpoint.ts";
import { assertClose } from "../support/compare.ts";
import { withCpu, withCuda, withWebgpu } from "../support/devices.ts";
import { minuteRecipe, QUIET, run } from "../train/support.ts";

/** Losses and perplexities apart, relative to the largest: two steps, before roundings add up. */
const TOLERANCE = 1e-5;

/** Losses and perplexities of the quickstart's teacher, surgery and stages, with a step each. */
async function convert(device: Device) {
  using temporary = temporaryFolder();
  const context = 64;
  const recipe = {
    ...minuteRecipe(temporary.folder, { surgery: quickstart.surgery as [], heldOut: 0.02 }),
    teacher: quickstart.teacher,
    // As software runs them: one step of each, of a quarter of the context.
    stages: quickstart.stages.map((stage) => ({
      ...stage,
      context,
      tokens: context * stage.batch,
    })),
  };
  const losses: number[] = [];
  const report = await run(device, recipe, {
    events: { ...QUIET, step: ({ loss }) => void losses.push(loss) },
  });
  return { losses, perplexities: [report.untrained, ...report.stages].map((m) => m.perplexity) };
}

for (const [name, withGpu] of Object.entries({ webgpu: withWebgpu, cuda: withCuda })) {
  Deno.test(`${name}: the quickstart's recipe has the CPU's losses`, async () => {
    const cpu = await withCpu({ threads: 1 }, convert);
    const gpu = await withGpu(convert);
    assertEquals(gpu.losses.length, 2);
    assertClose("losses", gpu.losses, cpu.losses, TOLERANCE);
    assertClose("perplexities", gpu.perplexities, cpu.perplexities, TOLERANCE);
  });
}
