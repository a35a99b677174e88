import { assert, assertEquals } from "@std/assert";
import { jsonOf, runTask } from "../support/task.ts";

Deno.test("calibrate: the efficiencies that plans assume are those that fit the paper's hours", async () => {
  const { fleet, runs, efficiencies } = jsonOf(await runTask("calibrate", "--json"));
  for (const { kind, assumed, fitted, reached } of efficiencies) {
    assert(Math.abs(assumed - fitted) < 0.0006, `${kind}: ${assumed} is assumed, ${fitted} fits`);
    const other = `${kind}: ${reached.assumed} of the roofline is assumed, ${reached.fitted} fits`;
    assert(Math.abs(reached.assumed - reached.fitted) < 0.006, other);
  }
  const hoursOf = (stages: readonly { seconds: number; publishedHours: number }[]) => ({
    found: stages.reduce((sum, { seconds }) => sum + seconds / 3600, 0),
    paper: stages.reduce((sum, { publishedHours }) => sum + publishedHours, 0),
  });
  assertEquals(runs.map(({ size }: { size: string }) => size), ["7B", "32B", "72B"]);
  for (const { size, stages } of runs) {
    const { found, paper } = hoursOf(stages);
    assert(Math.abs(found / paper - 1) < 0.1, `${size}: ${found} h, the paper ${paper} h`);
    for (const { kind, fits, memory, roofline, publishedHours } of stages) {
      // The paper cannot have been faster than its devices are.
      const reached = roofline.seconds / 3600 / publishedHours;
      assert(reached > 0.25 && reached < 1, `${size} ${kind}: ${reached} of the roofline`);
      // At 72B the paper has trouble with stage 3 too; the recipe's context is 2 % too much here.
      const tight = size === "72B" && kind === "finetune" && memory.total < 1.02 * fleet.memory;
      assert(fits || tight, `${size} ${kind} fits, as it did`);
    }
  }
});
