import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { cosineBetween } from "../../dsl/schedules.ts";
import { binidx, samples } from "../../dsl/sources.ts";
import { align, distill, finetune } from "../../dsl/stages.ts";
import { teacher } from "../../dsl/teachers.ts";
import { writeBinidx } from "../../formats/binidx/write.ts";
import { FormatError } from "../../formats/error.ts";
import { runFolderOf } from "../../train/conversion.ts";
import {
  digestOf,
  go,
  minuteRecipe,
  namesIn,
  QUIET,
  steps,
  stopAt,
  withFolder,
} from "./support.ts";

const STAGES = [
  align(steps(5)),
  distill(steps(4, { mixerLr: cosineBetween(1e-2, 1e-3, 0.2, 0.8) })),
  finetune(steps(3)),
];

Deno.test("stopped anywhere and resumed, the weights are the same bit by bit", async () => {
  await withFolder(async (folder, device) => {
    const recipe = minuteRecipe(folder, {
      stages: STAGES,
      data: samples(teacher(join(folder, "teacher")), 1000),
    });
    await go(device, recipe, { resume: false });
    const expected = digestOf(recipe);
    const report = JSON.parse(Deno.readTextFileSync(join(recipe.output, "report.json")));
    const telemetry = () =>
      Deno.readTextFileSync(join(recipe.output, "telemetry.jsonl")).trimEnd().split("\n")
        .map((line) => JSON.parse(line)).map(({ stage, step, loss }) => [stage, step, loss]);
    const steps = telemetry();
    assertEquals(steps.length, 12);

    const stops: [string, number][] = [];
    let resume = false;
    for (let calls = 0;; calls++) {
      // 2 steps a call; a call that finds a stage done goes on with the next.
      const outcome = await go(device, recipe, { resume, listen: stopAt(2) });
      if (outcome.kind === "done") break;
      stops.push([outcome.name, outcome.step]);
      assertEquals(outcome.folder, runFolderOf(recipe, recipe.output));
      resume = true;
    }
    assertEquals(stops, [["align", 2], ["align", 4], ["distill", 2], ["finetune", 2]]);
    assertEquals(digestOf(recipe), expected);
    assertEquals(telemetry(), steps);
    const again = JSON.parse(Deno.readTextFileSync(join(recipe.output, "report.json")));
    // Everything but the times.
    const lasting = ({ ratio, untrained, stages, prompt }: typeof report) => ({
      ratio,
      untrained,
      stages: stages.map((stage: Record<string, unknown>) => ({ ...stage, seconds: 0 })),
      prompt,
    });
    assertEquals(lasting(again), lasting(report));
    assert(again.seconds > report.stages[0].seconds);
  });
});

Deno.test("a stage that was trained and not yet measured is measured, not trained again", async () => {
  await withFolder(async (folder, device) => {
    const recipe = minuteRecipe(folder, { stages: STAGES });
    await assertRejects(
      () =>
        go(device, recipe, {
          resume: false,
          events: {
            ...QUIET,
            measured: ({ name }) => {
              if (name === "align") throw new Error("the power is gone");
            },
          },
        }),
      Error,
      "the power is gone",
    );
    const seen: string[] = [];
    const outcome = await go(device, recipe, {
      events: {
        ...QUIET,
        note: (line) => seen.push(line),
        step: ({ stage }) => void (seen.at(-1) !== stage && seen.push(stage)),
        measured: ({ name }) => seen.push(`measured ${name}`),
      },
    });
    assert(outcome.kind === "done");
    assertEquals(seen.slice(0, 4), [
      "resumed in stage 2 of 3, after step 0",
      "measured align",
      "stage 2 of 3: distill",
      "distill",
    ]);
    assertEquals(outcome.report.stages.map(({ name }) => name), ["align", "distill", "finetune"]);
    assert(outcome.report.stages.every(({ seconds }) => seconds > 0));
  });
});

Deno.test("nothing to resume: the run starts afresh and says so", async () => {
  await withFolder(async (folder, device) => {
    const recipe = minuteRecipe(folder, { stages: [] });
    const notes: string[] = [];
    const outcome = await go(device, recipe, { events: { ...QUIET, note: (n) => notes.push(n) } });
    assertEquals([outcome.kind, notes[0]], [
      "done",
      "there is nothing to resume: the run starts afresh",
    ]);
  });
});

Deno.test("a finished run is not done again by --resume, and is without it", async () => {
  await withFolder(async (folder, device) => {
    const recipe = minuteRecipe(folder, { stages: [align(steps(1))] });
    const first = await go(device, recipe, { resume: false });
    assert(first.kind === "done" && !first.before);
    const notes: string[] = [];
    const events = { ...QUIET, note: (note: string) => notes.push(note) };
    const second = await go(device, recipe, { events });
    assert(second.kind === "done" && second.before);
    assertEquals(second.report, JSON.parse(JSON.stringify(first.report)));
    assertEquals(notes, []);
    await go(device, recipe, { resume: false, events });
    assertEquals(notes.at(-1), "measuring inference");
    // Another recipe's result is not this one's.
    const other = minuteRecipe(folder, { stages: [align(steps(2))] });
    const third = await go(device, other, { events });
    assert(third.kind === "done" && !third.before);
  });
});

Deno.test("a stopped run is not thrown away unless --restart says so", async () => {
  await withFolder(async (folder, device) => {
    const recipe = minuteRecipe(folder, { stages: STAGES });
    await go(device, recipe, { resume: false, listen: stopAt(3) });
    const kept = namesIn(runFolderOf(recipe, recipe.output));
    const error = await assertRejects(() => go(device, recipe, { resume: false }), FormatError);
    assertEquals(
      error.message,
      `${
        runFolderOf(recipe, recipe.output)
      }: expected to be told what to do with it, --resume or ` +
        "--restart, found an unfinished run of this recipe and neither; --resume goes on with it, " +
        "--restart removes it and starts afresh",
    );
    assertEquals(namesIn(runFolderOf(recipe, recipe.output)), kept);
    const seen: (string | number)[] = [];
    const events = {
      ...QUIET,
      note: (note: string) => seen.push(note),
      step: ({ step }: { step: number }) => void seen.push(step),
    };
    await go(device, recipe, { resume: false, restart: true, events });
    assertEquals(seen.slice(0, 2), ["stage 1 of 3: align", 1]);
  });
});

Deno.test("a run that has not trained yet may begin again", async () => {
  await withFolder(async (folder, device) => {
    const recipe = minuteRecipe(folder, { stages: [align(steps(1))] });
    const stopped = await go(device, recipe, { resume: false, listen: stopAt(0) });
    assert(stopped.kind === "stopped");
    const again = await go(device, recipe, { resume: false });
    assertEquals(again.kind, "done");
  });
});

Deno.test("a run does not go on with another teacher or other token files", async () => {
  await withFolder(async (folder, device) => {
    const prefix = join(folder, "tokens");
    const words = (step: number) => [Array.from({ length: 2000 }, (_, i) => i * step % 280)];
    writeBinidx(prefix, words(3));
    const recipe = minuteRecipe(folder, { stages: STAGES, data: binidx(prefix) });
    await go(device, recipe, { resume: false, listen: stopAt(3) });

    const left = namesIn(runFolderOf(recipe, recipe.output));
    writeBinidx(prefix, words(7));
    const weights = join(folder, "teacher", "model.safetensors");
    const bytes = Deno.readFileSync(weights);
    Deno.writeFileSync(weights, bytes.map((byte, i) => i === bytes.length - 5 ? byte ^ 1 : byte));
    const error = await assertRejects(() => go(device, recipe), FormatError);
    assertEquals(
      error.problems.map(({ at, found }) => [at, found]),
      [["model.safetensors", "one with other content"], [
        `${prefix}.bin`,
        "one with other content",
      ]],
    );
    assertEquals(namesIn(runFolderOf(recipe, recipe.output)), left);

    Deno.writeFileSync(weights, bytes);
    writeBinidx(prefix, words(3));
    const notes: string[] = [];
    await go(device, recipe, { events: { ...QUIET, note: (note) => notes.push(note) } });
    assertEquals(notes[0], "resumed in stage 1 of 3, after step 3");
  });
});

Deno.test("another seed is another run", async () => {
  await withFolder(async (folder, device) => {
    const first = minuteRecipe(folder, { stages: STAGES });
    const second = minuteRecipe(folder, { stages: STAGES, seed: 1 });
    await go(device, first, { resume: false, listen: stopAt(3) });
    const notes: string[] = [];
    await go(device, second, {
      events: { ...QUIET, note: (note) => notes.push(note) },
      listen: stopAt(1),
    });
    assertEquals(notes[0], "there is nothing to resume: the run starts afresh");
    const runs = namesIn(folder)!.filter((name) => name.startsWith("out.run-"));
    assertEquals(runs.length, 2);
  });
});

Deno.test("two processes do not work on one run", async () => {
  await withFolder(async (folder, device) => {
    const recipe = minuteRecipe(folder, { stages: STAGES });
    let inner: Promise<unknown> | undefined;
    await go(device, recipe, {
      resume: false,
      events: {
        ...QUIET,
        step: ({ stage, step }) => {
          if (stage === "align" && step === 2) {
            inner = assertRejects(
              () => go(device, recipe),
              FormatError,
              "expected a run that no other process works on",
            );
          }
        },
      },
    });
    await inner;
    assert(inner !== undefined);
  });
});
