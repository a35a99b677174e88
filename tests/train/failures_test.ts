import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { radRwkv7 } from "../../dsl/mixers.ts";
import { RecipeError } from "../../dsl/problem.ts";
import { recipe } from "../../dsl/recipe.ts";
import { constant } from "../../dsl/schedules.ts";
import { layers } from "../../dsl/selectors.ts";
import { text } from "../../dsl/sources.ts";
import { align, distill } from "../../dsl/stages.ts";
import { match } from "../../dsl/trains.ts";
import { FormatError } from "../../formats/error.ts";
import { runRecipe } from "../../train/conversion.ts";
import { NotFiniteError } from "../../train/finite.ts";
import { changedCheckpoint } from "../support/checkpoint.ts";
import { counted } from "../support/counted_device.ts";
import {
  minuteRecipe,
  namesIn,
  QUIET,
  run,
  steps,
  stopAt,
  weightsOf,
  withFolder,
} from "./support.ts";

Deno.test("training that goes astray stops with stage, step and tensor; the good weights stay", async () => {
  await withFolder(async (folder, device) => {
    const own = counted(device);
    const astray = { ...steps(20), warmup: 0, lr: constant(1), weightDecay: 1e25 };
    const written = minuteRecipe(folder, {
      stages: [align(steps(2)), distill(astray)],
    });
    const { message } = await assertRejects(
      () => run(own, written, { checkpointSeconds: 0 }),
      NotFiniteError,
    );
    assert(/^stage distill, step 2 of 20: the loss is (NaN|Infinity)/.test(message), message);
    assert(message.includes("the first tensor that is not finite is "), message);
    assertEquals(own.held(), { memory: 0, programs: 0 });
    const left = namesIn(folder)!.filter((name) => name.startsWith("out"));
    assertEquals(left.length, 1);
    assert(left[0].startsWith("out.run-"));
    // No checkpoint of the second stage was good.
    assertEquals(namesIn(join(folder, left[0])), [
      "lock",
      "stage.safetensors",
      "telemetry.jsonl",
      "tokens-0.bin",
      "tokens-0.idx",
    ]);
    for (const values of weightsOf(join(folder, left[0], "stage.safetensors")).values()) {
      assert(values.every(Number.isFinite));
    }
  });
});

Deno.test("a teacher with a weight that is no number is refused, and nothing stays", async () => {
  await withFolder(async (folder, device) => {
    const base = minuteRecipe(folder);
    for (const value of [NaN, Infinity]) {
      using bad = changedCheckpoint(join(folder, "teacher"), ({ tensors }) => {
        const name = "model.layers.1.mlp.up_proj.weight";
        const { dtype, shape } = tensors.get(name)!;
        const data = new Float32Array(shape[0] * shape[1]).fill(0.1);
        data[17] = value;
        tensors.set(name, { dtype, shape, data });
      });
      const written = recipe({
        ...base,
        teacher: { kind: "checkpoint", location: bad.folder },
      } as never);
      const { message } = await assertRejects(() => run(device, written), FormatError);
      assertEquals(
        message,
        `${bad.folder}: tensor model.layers.1.mlp.up_proj.weight: expected finite numbers, found ` +
          "NaN or infinity; the checkpoint is damaged: download it again",
      );
      assertEquals(namesIn(folder), ["teacher", "text.txt"]);
    }
  });
});

Deno.test("bad input leaves nothing, and an earlier result as it was", async () => {
  await withFolder(async (folder, device) => {
    await run(device, minuteRecipe(folder, { stages: [] }));
    const before = namesIn(folder);
    const refused = async (
      options: Parameters<typeof minuteRecipe>[1],
      kind: new (...args: never[]) => Error,
      ...parts: string[]
    ) => {
      const own = counted(device);
      const written = minuteRecipe(folder, options);
      const { message } = await assertRejects(() => run(own, written), kind as typeof Error);
      for (const part of parts) assert(message.includes(part), message);
      assertEquals(namesIn(folder), before);
      assertEquals(own.held(), { memory: 0, programs: 0 });
    };
    await refused(
      { stages: [align(steps(2)), distill({ ...steps(2), tokens: 1e5, context: 8192 })] },
      RecipeError,
      "stages[1].context: expected at most ",
      "so that one sequence fits the training tokens, found 8192; use more text",
    );
    await refused({ data: text(join(folder, "none.txt")) }, FormatError, "none.txt: expected");
    await refused(
      { stages: [align(steps(1, { trains: match("*.mlp.*") }))] },
      RecipeError,
      "stages[0].trains: expected at least one tensor of the converted layers' mixers",
      'found none: "*.mlp.*"',
    );
    await refused(
      { stages: [distill(steps(1, { trains: match("no.such") }))] },
      RecipeError,
      "stages[0].trains: expected at least one tensor of the student",
    );
    await refused(
      { surgery: [layers.only(9).to(radRwkv7())] },
      RecipeError,
      "surgery[0].layers: expected layers from 0 to 1",
    );
    await refused({ heldOut: 1e-9 }, RecipeError, "fits the held-out tokens");
    await refused(
      { stages: [], heldOut: 1e-9 },
      RecipeError,
      "data: expected text of which at least 2 tokens are held out, found 0",
    );
  });
});

Deno.test("bad input does not touch an unfinished run, even with --restart", async () => {
  await withFolder(async (folder, device) => {
    const written = minuteRecipe(folder, { stages: [align(steps(3))] });
    const options = {
      device,
      out: written.output,
      resume: false,
      dtype: "float32",
      checkpointSeconds: 0,
      events: QUIET,
    } as const;
    const stopped = await runRecipe(written, {
      ...options,
      listen: stopAt(2),
    });
    assert(stopped.kind === "stopped");
    const left = namesIn(stopped.folder);
    Deno.removeSync(join(folder, "text.txt"));
    await assertRejects(() => run(device, written, { restart: true }), FormatError, "text.txt");
    assertEquals(namesIn(stopped.folder), left);
    // Its tokens are its own.
    const resumed = await run(device, written, { resume: true });
    assertEquals(resumed.stages.length, 1);
  });
});
