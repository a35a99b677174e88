import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { keepAttention, radRwkv7, worst } from "../../dsl/mixers.ts";
import { RecipeError } from "../../dsl/problem.ts";
import type { Recipe } from "../../dsl/recipe.ts";
import { constant } from "../../dsl/schedules.ts";
import { layers } from "../../dsl/selectors.ts";
import { align, distill, finetune } from "../../dsl/stages.ts";
import { match, type Trains } from "../../dsl/trains.ts";
import { alignmentErrors, worstOf } from "../../train/hybrid.ts";
import { originOf } from "../../train/origin.ts";
import { stageProblems } from "../../train/stage_graph.ts";
import { createTrainer } from "../../train/trainer.ts";
import { ATTENTION, radRwkv7 as radRwkv7Spec, randomModel } from "../support/model.ts";
import { withCpu } from "../support/devices.ts";
import { random } from "../support/random.ts";
import {
  digestOf,
  go,
  minuteRecipe,
  namesIn,
  QUIET,
  steps,
  stopAt,
  weightsOf,
  withFolder,
  writeTeacher,
} from "./support.ts";

Deno.test("the errors of layers: their mean is stage 1's loss, and a spoiled layer has the largest", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    const teacher = randomModel(device, [ATTENTION, ATTENTION, ATTENTION]);
    const student = randomModel(device, [radRwkv7Spec(), radRwkv7Spec(), ATTENTION]);
    const { below } = random(3);
    const ids = Int32Array.from({ length: 55 }, () => below(50));
    const text = {
      length: ids.length,
      read: (start: number, count: number) => ids.slice(start, start + count),
    };
    const measure = () =>
      alignmentErrors({ device, student, teacher, text, context: 16, onProgress: () => {} });
    const errors = await measure();
    assertEquals(errors.map(({ layer }) => layer), [0, 1]);

    // Three whole sequences; what is left over is not used.
    const trainer = await createTrainer({
      device,
      stage: align(steps(1, { batch: 3, tokens: 48 })),
      student: student.spec,
      values: (name) => student.store.read(name),
      teacher,
    });
    const loss = await trainer.backward({ ids: ids.slice(0, 48), targets: ids.slice(1, 49) });
    assertAlmostEquals((errors[0].error + errors[1].error) / 2, loss, 1e-6 * loss);

    const name = "model.layers.1.self_attn.o_proj.weight";
    const weights = await student.store.read(name);
    student.store.write(name, weights.map((w) => 30 * w));
    const spoiled = await measure();
    assertEquals(spoiled[0], errors[0]);
    assert(spoiled[1].error > 5 * errors[1].error);
    assertEquals(worstOf(spoiled, { layers: [0, 1], count: 1 }), [1]);
  });
});

Deno.test("the worst layers are those with the largest errors, of equal ones the first", () => {
  const errors = [3, 1, 9, 3, 3].map((error, layer) => ({ layer, error }));
  assertEquals(worstOf(errors, { layers: [0, 1, 2, 3, 4], count: 3 }), [0, 2, 3]);
  assertEquals(worstOf(errors, { layers: [0, 1, 3, 4], count: 1 }), [0]);
});

/** A recipe over four layers, two of which keep attention in the end. */
function hybridRecipe(folder: string): Recipe {
  const recipe = minuteRecipe(folder, {
    surgery: [layers.all.to(radRwkv7()), layers.except(3).to(keepAttention({ where: worst(2) }))],
    stages: [align(steps(5)), distill(steps(4)), finetune(steps(2))],
  });
  writeTeacher(join(folder, "teacher"), { num_hidden_layers: 4 });
  return recipe;
}

const telemetryOf = ({ output }: Recipe) =>
  Deno.readTextFileSync(join(output, "telemetry.jsonl")).trimEnd().split("\n")
    .map((line) => JSON.parse(line));

Deno.test("a hybrid by measurement: attention comes back with the teacher's weights", async () => {
  await withFolder(async (folder, device) => {
    const recipe = hybridRecipe(folder);
    const told: unknown[] = [];
    const outcome = await go(device, recipe, {
      resume: false,
      events: {
        ...QUIET,
        kept: (kept) => told.push(kept),
        measured: ({ name }) => told.push(name),
        step: ({ stage, step }) => void (step === 1 && told.push(`${stage} begins`)),
      },
    });
    assert(outcome.kind === "done");
    const { keptAttention } = outcome.report;
    assert(keptAttention !== undefined);
    // Between stage 1 and everything after it, its measurement included.
    assertEquals(told, [
      ...["untrained", "align begins", keptAttention, "align"],
      ...["distill begins", "distill", "finetune begins", "finetune"],
    ]);
    const { layers, errors } = keptAttention;
    assertEquals(errors.map(({ layer }) => layer), [0, 1, 2, 3]);
    assertEquals(layers, worstOf(errors, { layers: [0, 1, 2], count: 2 }));
    const lines = telemetryOf(recipe);
    assertEquals(lines.length, 12);
    assertEquals(lines[5], { stageIndex: 1, step: 0, keptAttention });

    const config = JSON.parse(Deno.readTextFileSync(join(recipe.output, "config.json")));
    assertEquals(config.num_attention_layers, 2);
    const tensors = weightsOf(recipe.output);
    for (const layer of [0, 1, 2, 3]) {
      const converted = tensors.has(`model.layers.${layer}.self_attn.w0`);
      assertEquals(converted, !layers.includes(layer), `layer ${layer}`);
    }
    // The hybrid of stage 1 alone has the teacher's own attention in those layers.
    const short = { ...recipe, stages: recipe.stages.slice(0, 1), output: join(folder, "short") };
    const first = await go(device, short, { resume: false });
    assert(first.kind === "done");
    assertEquals(first.report.keptAttention, keptAttention);
    assertEquals(first.report.stages[0].ratio, outcome.report.stages[0].ratio);
    const [aligned, teacher] = [weightsOf(short.output), weightsOf(join(folder, "teacher"))];
    for (const [name, values] of aligned) {
      const layer = Number(/^model\.layers\.(\d)\.self_attn\./.exec(name)?.[1] ?? layers[0]);
      const same = layers.includes(layer);
      assertEquals(same, values.join() === teacher.get(name)?.join(), name);
    }
  });
});

Deno.test("a hybrid by measurement: stopped and killed anywhere, the bits are the same", async () => {
  await withFolder(async (folder, device) => {
    const recipe = hybridRecipe(folder);
    await go(device, recipe, { resume: false });
    const expected = { digest: digestOf(recipe), lines: telemetryOf(recipe) };
    const lasting = (lines: Record<string, unknown>[]) =>
      lines.map(({ stage, step, loss, keptAttention }) => ({ stage, step, loss, keptAttention }));

    await go(device, recipe, { resume: false, listen: stopAt(3) });
    // While the layers are being measured, and when they are known but the run is not told yet.
    const gone = () => {
      throw new Error("the power is gone");
    };
    const progress = (what: string) => void (what.includes("every layer") && gone());
    for (const events of [{ ...QUIET, progress }, { ...QUIET, kept: gone }]) {
      await assertRejects(() => go(device, recipe, { events }), Error, "the power is gone");
    }
    const stopped = await go(device, recipe, { listen: stopAt(2) });
    assert(stopped.kind === "stopped" && stopped.name === "distill" && stopped.step === 2);
    const seen: string[] = [];
    const events = { ...QUIET, note: (line: string) => void seen.push(line), kept: gone };
    const outcome = await go(device, recipe, { events });
    assert(outcome.kind === "done");
    assertEquals(seen[0], "resumed in stage 2 of 3, after step 2");
    assertEquals(digestOf(recipe), expected.digest);
    assertEquals(lasting(telemetryOf(recipe)), lasting(expected.lines));
    assertEquals(outcome.report.keptAttention, expected.lines[5].keptAttention);
    assertEquals(namesIn(folder), ["out", "teacher", "text.txt"]);
  });
});

/** A config of four layers, the first of them converted, the others with attention. */
const CONVERTED = {
  ...{ model_type: "rwkv7qwen2", num_hidden_layers: 4, attention_bias: true },
  ...{ num_attention_layers: 3, attention_layers: [1, 2, 3] },
  ...{ use_rope: true, balance_state: false, groupnorm_att: true, gate_rank_type: 2 },
  ...{ lora_rank_decay: 32, lora_rank_iclr: 32, lora_rank_value_residual_mix: 32 },
  lora_rank_gate: 32,
};

Deno.test("a hybrid of a converted teacher: its own mixers are left alone, resumed or not", async () => {
  await withFolder(async (folder, device) => {
    const recipe = minuteRecipe(folder, {
      surgery: [
        layers.only(1, 2, 3).to(radRwkv7()),
        layers.only(1, 2, 3).to(keepAttention({ where: worst(1) })),
      ],
      stages: [align(steps(4)), align(steps(4, { name: "more" })), distill(steps(3))],
    });
    writeTeacher(join(folder, "teacher"), CONVERTED);
    const aligned = { ...recipe, stages: recipe.stages.slice(0, 2), output: join(folder, "short") };
    const outcomes = [await go(device, aligned), await go(device, recipe)];
    const digest = digestOf(recipe);
    for (const outcome of outcomes) {
      assert(outcome.kind === "done");
      const { errors } = outcome.report.keptAttention!;
      assertEquals(errors.map(({ layer }) => layer), [1, 2, 3], "its own has no error");
    }
    const [before, after] = [weightsOf(join(folder, "teacher")), weightsOf(aligned.output)];
    const own = [...before.keys()].filter((name) => name.startsWith("model.layers.0.self_attn."));
    assert(own.some((name) => name.endsWith(".w0")));
    for (const name of own) assertEquals(after.get(name), before.get(name), name);

    // In each stage of the alignment, and once the layers are known.
    const stopped = [];
    await go(device, recipe, { resume: false, listen: stopAt(2) });
    for (const step of [3, 2]) {
      const outcome = await go(device, recipe, { listen: stopAt(step) });
      assert(outcome.kind === "stopped");
      stopped.push(outcome.name);
    }
    assertEquals(stopped, ["more", "distill"]);
    assertEquals((await go(device, recipe)).kind, "done");
    assertEquals(digestOf(recipe), digest);
  });
});

Deno.test("a hybrid by measurement: a stage that is done need not have what it trained", async () => {
  await withFolder(async (folder, device) => {
    const surgery = [
      layers.all.to(radRwkv7()),
      layers.only(0, 1).to(keepAttention({ where: worst(1) })),
    ];
    // So little is learnt that the same layer is the worst, whatever is trained.
    const stage = (trains: Trains) => align(steps(1, { trains, lr: constant(1e-9), warmup: 0 }));
    const first = minuteRecipe(folder, { surgery, stages: [stage("mixers")] });
    const outcome = await go(device, first, { resume: false });
    assert(outcome.kind === "done");
    const [worstLayer] = outcome.report.keptAttention!.layers;
    const only = match(`model.layers.${worstLayer}.*`);
    const second = minuteRecipe(folder, { surgery, stages: [stage(only), distill(steps(2))] });
    const again = await go(device, second, { resume: false });
    assert(again.kind === "done");
    assertEquals(again.report.keptAttention!.layers, [worstLayer]);
  });
});

Deno.test("a hybrid by measurement: later stages have something to train whichever layers come back", async () => {
  await withFolder(async (folder, device) => {
    const recipe = hybridRecipe(folder);
    const { student, teacher, hybrid } = originOf(recipe, undefined, () => {});
    const problemsOf = (...globs: string[]) => {
      const trains = match(...globs);
      const stages = [align(steps(5, { trains })), finetune(steps(2, { trains }))];
      return stageProblems({ ...recipe, stages }, student, teacher?.spec, hybrid?.choice);
    };
    const w0 = (layer: number) => `model.layers.${layer}.self_attn.w0`;
    const problem = (needed: string, found: string) => ({
      path: "stages[1].trains",
      expected:
        "at least one tensor of the student, whichever 2 of the layers 0, 1, 2 keep attention",
      found: `none where these are ${needed}: "${found}"`,
    });
    assertEquals(problemsOf(w0(1)), [problem("0, 1", w0(1))]);
    assertEquals(problemsOf(w0(0), w0(2)), [problem("0, 2", `${w0(0)}, ${w0(2)}`)]);
    // More layers than come back; one that never does; tensors that attention has too.
    assertEquals(problemsOf(w0(0), w0(1), w0(2)), []);
    assertEquals(problemsOf(w0(1), w0(3)), []);
    assertEquals(problemsOf("model.layers.1.self_attn.q_proj.*"), []);

    const stages = [align(steps(5)), finetune(steps(2, { trains: match(w0(1)) }))];
    await assertRejects(() => go(device, { ...recipe, stages }), RecipeError, "stages[1].trains");
    assertEquals(namesIn(folder), ["teacher", "text.txt"]);
  });
});

Deno.test("a hybrid by measurement: what does not fit is told before anything is written", async () => {
  await withFolder(async (folder, device) => {
    const recipe = hybridRecipe(folder);
    writeTeacher(join(folder, "teacher"), { num_hidden_layers: 2 });
    const all = { ...recipe, surgery: [recipe.surgery[0], layers.all.to(recipe.surgery[1].mixer)] };
    await assertRejects(
      () => go(device, all),
      RecipeError,
      "surgery[1].mixer.where.count: expected fewer than the 2 converted layers that the rule " +
        "chooses among, found 2",
    );
    writeTeacher(join(folder, "teacher"), { num_hidden_layers: 4 });
    const long = { ...recipe, stages: [align(steps(1, { context: 1024, tokens: 2048 }))] };
    await assertRejects(
      () => go(device, long),
      RecipeError,
      "so that one sequence fits the held-out tokens, found 1024",
    );
    assertEquals(namesIn(folder), ["teacher", "text.txt"]);
  });
});
