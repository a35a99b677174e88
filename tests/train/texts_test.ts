/** What text the stages of a run read. */

import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { constant } from "../../dsl/schedules.ts";
import { text } from "../../dsl/sources.ts";
import { align, distill, finetune } from "../../dsl/stages.ts";
import { minuteRecipe, QUIET, run, sentences, steps, withFolder } from "./support.ts";

Deno.test("stages have contexts and texts of their own", async () => {
  await withFolder(async (folder, device) => {
    const other = join(folder, "other.txt");
    Deno.writeTextFileSync(other, sentences(100, 5).toUpperCase());
    const written = minuteRecipe(folder, {
      stages: [
        align(steps(2)),
        distill({ ...steps(2), tokens: 128, context: 32 }),
        finetune({ ...steps(2), data: text(other), name: "capitals" }),
        finetune({ ...steps(2), data: text(other), name: "more capitals" }),
      ],
    });
    const tokenised: string[] = [];
    const { stages } = await run(device, written, {
      events: {
        ...QUIET,
        progress: (what) => void (what === "tokenising documents" && tokenised.push(what)),
      },
    });
    assertEquals(stages.map(({ context, tokens }) => [context, tokens]), [
      [16, 64],
      [32, 128],
      [16, 64],
      [16, 64],
    ]);
    assertEquals(tokenised, ["tokenising documents", "tokenising documents"], "each text once");
    // Capitals are all new to the vocabulary.
    assert(stages[2].loss > stages[1].loss);
  });
});

Deno.test("later stages go on in the text where earlier ones stopped", async () => {
  await withFolder(async (folder, device) => {
    const lossesOf = async (stages: Parameters<typeof minuteRecipe>[1]) => {
      const losses: number[] = [];
      const written = minuteRecipe(folder, stages);
      await run(device, written, {
        events: { ...QUIET, step: ({ loss }) => losses.push(loss) },
      });
      return losses;
    };
    // Nothing is learnt, so losses tell which text was read.
    const still = (count: number, name: string) =>
      distill(steps(count, { lr: constant(1e-30), name }));
    const whole = await lossesOf({ stages: [still(6, "one")] });
    const parts = await lossesOf({ stages: [still(2, "one"), still(1, "two"), still(3, "three")] });
    assertEquals(parts, whole);
    assertEquals(new Set(whole).size, 6);
  });
});
