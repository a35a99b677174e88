import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import type { Device } from "../../devices/device.ts";
import { radRwkv6, radRwkv7 } from "../../dsl/mixers.ts";
import { layers } from "../../dsl/selectors.ts";
import { align, type AlignOptions } from "../../dsl/stages.ts";
import { match } from "../../dsl/trains.ts";
import { type MinuteOptions, minuteRecipe, run, steps, weightsOf, withFolder } from "./support.ts";

const STEPS = 5;

/** The weights that a recipe's only stage leaves, all layers at once or one after another. */
async function weights(
  folder: string,
  device: Device,
  surgery: MinuteOptions["surgery"],
  options: AlignOptions,
  scratchBytes?: number,
) {
  Deno.mkdirSync(folder);
  const recipe = minuteRecipe(folder, { surgery, stages: [align(options)] });
  const report = await run(device, recipe, { scratchBytes });
  return { tensors: weightsOf(recipe.output), report };
}

const cases: Readonly<Record<string, [MinuteOptions["surgery"], AlignOptions]>> = {
  "RAD-RWKV6": [[layers.all.to(radRwkv6())], { clip: 0 }],
};

for (const [name, [surgery, options]] of Object.entries(cases)) {
  Deno.test(`streamed: the bits of the joint form, ${name}`, async () => {
    await withFolder(async (folder, device) => {
      const stage = steps(STEPS, { ...options });
      const joint = await weights(join(folder, "joint"), device, surgery, stage);
      const streamed = await weights(join(folder, "streamed"), device, surgery, {
        ...stage,
        streamed: true,
      });
      assertEquals(streamed.tensors, joint.tensors);
      console.log(joint.report.stages, streamed.report.stages);
    });
  });
}
