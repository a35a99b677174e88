import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { join } from "node:path";
import { extend, withHybrid } from "../../dsl/transformations.ts";
import { radRwkv6, radRwkv7 } from "../../dsl/mixers.ts";
import { recipe } from "../../dsl/recipe.ts";
import { layers, only } from "../../dsl/selectors.ts";
import { fromJson, hash } from "../../dsl/json.ts";
import { align, distill, finetune } from "../../dsl/stages.ts";
import { teacher } from "../../dsl/teachers.ts";
import { match } from "../../dsl/trains.ts";
import { evaluate } from "../../infer/evaluation.ts";
import { checkpointTokenizer, inspectCheckpoint, loadCheckpoint } from "../../infer/loading.ts";
import { counted } from "../support/counted_device.ts";
import {
  minuteRecipe,
  namesIn,
  QUIET,
  run,
  steps,
  weightsOf,
  withFolder,
  writeTeacher,
} from "./support.ts";

const same = (a: Float32Array | undefined, b: Float32Array | undefined) =>
  a !== undefined && b !== undefined && a.length === b.length && a.every((x, i) => x === b[i]);

Deno.test("a run leaves its result and nothing else, and gives back the device's memory", async () => {
  await withFolder(async (folder, device) => {
    const own = counted(device);
    const written = minuteRecipe(folder);
    const notes: string[] = [];
    const seen: [string, number][] = [];
    const report = await run(own, written, {
      events: {
        ...QUIET,
        note: (message) => notes.push(message),
        step: ({ stage, step }) => seen.push([stage, step]),
        measured: ({ name, tokens }) => seen.push([name, tokens]),
      },
    });
    assertEquals(own.held(), { memory: 0, programs: 0 });
    assertEquals(namesIn(folder), ["out", "teacher", "text.txt"]);
    assertEquals(notes, ["stage 1 of 2: align", "stage 2 of 2: distill", "measuring inference"]);
    const stepsOf = (name: string, count: number) =>
      Array.from({ length: count }, (_, i) => [name, i + 1]);
    assertEquals(seen, [
      ["untrained", 0],
      ...stepsOf("align", 6),
      ["align", 192],
      ...stepsOf("distill", 4),
      ["distill", 128],
    ]);
    const out = join(folder, "out");
    const read = (name: string) => Deno.readTextFileSync(join(out, name));
    assertEquals(JSON.parse(read("report.json")), JSON.parse(JSON.stringify(report)));
    assertEquals(fromJson(read("recipe.json")), written);
    const lines = read("telemetry.jsonl").trimEnd().split("\n").map((line) => JSON.parse(line));
    assertEquals(lines.map(({ stageIndex, stage, step }) => [stageIndex, stage, step]), [
      ...stepsOf("align", 6).map((line) => [0, ...line]),
      ...stepsOf("distill", 4).map((line) => [1, ...line]),
    ]);
    assert(
      lines.every(({ loss, gradientNorm, learningRate, tokensPerSecond }) =>
        [loss, gradientNorm, learningRate, tokensPerSecond].every(Number.isFinite)
      ),
    );
  });
});

Deno.test("the report says what a run found out", async () => {
  await withFolder(async (folder, device) => {
    const written = minuteRecipe(folder, { seed: 4 });
    const report = await run(device, written);
    const { teacher, student, untrained, stages } = report;
    assertEquals(stages.map(({ name, tokens }) => [name, tokens]), [
      ["align", 192],
      ["distill", 128],
    ]);
    for (const stage of [untrained, ...stages]) {
      assertAlmostEquals(stage.perplexity, Math.exp(stage.loss), 1e-9 * stage.perplexity);
      assertAlmostEquals(stage.ratio!, stage.perplexity / teacher!.perplexity, 1e-12);
      assertEquals(stage.context, 16);
    }
    assert(stages.every(({ seconds, trainingLoss }) => seconds > 0 && trainingLoss! > 0));
    assertEquals(report.ratio, stages[1].ratio);
    assertEquals([student.loss, student.perplexity], [stages[1].loss, stages[1].perplexity]);
    // Two layers of two heads of 8 × 8 f32 numbers, against keys and values of every token.
    assertEquals([student.stateBytesAt1K, student.stateBytesAt32K], [1024, 1024]);
    assertEquals([teacher!.stateBytesAt1K, teacher!.stateBytesAt32K], [131072, 32 * 131072]);
    assert(teacher!.tokensPerSecond! > 0 && student.tokensPerSecond! > 0);
    assert(report.prompt.length > 0 && student.sample!.length > 0 && teacher!.sample!.length > 0);
    assertEquals(report.seed, 4);
    assertEquals(report.recipeHash, hash(written));
    assertEquals(report.device, device.description);
    assertEquals(report.versions.deno, Deno.version.deno);
    assert(report.machine.cores >= 1 && report.machine.name.length > 0);
    const trained = stages.reduce((sum, { seconds }) => sum + seconds, 0);
    assert(report.seconds > trained);
    const { peakMemory } = report;
    assert(
      stages.every(({ deviceBytes }) => deviceBytes! > 0 && deviceBytes! <= peakMemory.device),
    );
    assert(peakMemory.process > peakMemory.device);
    const total = report.heldOutTokens + report.trainingTokens;
    assertAlmostEquals(report.heldOutTokens / total, 0.1, 0.01);

    // What is written is what was measured.
    const out = join(folder, "out");
    const checkpoint = inspectCheckpoint(out);
    assert(checkpoint.spec.mixers.every(({ kind }) => kind === "radRwkv7"));
    const tokenizer = checkpointTokenizer(out, checkpoint.config);
    const document = Deno.readTextFileSync(join(folder, "text.txt"));
    const ids = Int32Array.from([...tokenizer.encode(document), tokenizer.eosId!]);
    const held: number[] = [];
    for (let span = 0; span < 32; span++) {
      const [begin, end] = [span, span + 1].map((s) => Math.floor(ids.length * s / 32));
      held.push(...ids.subarray(end - Math.round((end - begin) * 0.1), end));
    }
    const model = loadCheckpoint(device, checkpoint);
    const again = await evaluate(
      model,
      {
        length: held.length,
        read: (start, count) => Int32Array.from(held.slice(start, start + count)),
      },
      16,
    );
    model.free();
    assertEquals(again.loss, student.loss);
  });
});

Deno.test("the same seed gives the same bits, another one others", async () => {
  await withFolder(async (folder, device) => {
    const written = minuteRecipe(folder, { stages: [align(steps(2))] });
    const weights = async (seed: number, name: string) => {
      const out = join(folder, name);
      await run(device, recipe({ ...written, seed } as never), { out });
      return weightsOf(out);
    };
    const [a, b, c] = [await weights(0, "a"), await weights(0, "b"), await weights(1, "c")];
    assertEquals(a, b);
    assert(!same(a.get("model.layers.1.self_attn.w2"), c.get("model.layers.1.self_attn.w2")));
  });
});

Deno.test("what a stage does not train stays as it was, bit by bit", async () => {
  await withFolder(async (folder, device) => {
    const teacher = weightsOf(writeTeacher(join(folder, "teacher")));
    const changed = async (stages: Parameters<typeof minuteRecipe>[1]) => {
      const written = minuteRecipe(folder, stages);
      await run(device, written);
      const weights = weightsOf(written.output);
      return [...teacher].filter(([name, values]) => !same(values, weights.get(name)))
        .map(([name]) => name);
    };
    const names = [...teacher.keys()];
    const mixers = names.filter((name) => name.includes("self_attn"));
    assertEquals(await changed({ stages: [] }), []);
    assertEquals(await changed({ stages: [align(steps(2))] }), mixers);
    assertEquals(
      await changed({ stages: [distill(steps(2, { trains: match("*.mlp.up_proj.*") }))] }),
      names.filter((name) => name.includes("up_proj")),
    );
    assertEquals(
      await changed({ stages: [finetune(steps(2))] }),
      names,
      "everything, embeddings included",
    );
  });
});

Deno.test("a hybrid keeps the teacher's attention where it is told to", async () => {
  await withFolder(async (folder, device) => {
    const base = minuteRecipe(folder, { stages: [align(steps(2))] });
    const hybrid = withHybrid(only(1))(base);
    const report = await run(device, hybrid);
    const { spec } = inspectCheckpoint(hybrid.output);
    assertEquals(spec.mixers.map(({ kind }) => kind), ["radRwkv7", "attention"]);
    const [before, after] = [weightsOf(join(folder, "teacher")), weightsOf(hybrid.output)];
    for (const [name, values] of before) {
      if (name.startsWith("model.layers.1.")) assert(same(values, after.get(name)), name);
    }
    // Half of the state is a cache: keys and values of 8 numbers a token.
    assertEquals(report.student.stateBytesAt1K, 512 + 2 * 8 * 4 * 1024);
  });
});

Deno.test("a hybrid is converted further, a finished student finetuned", async () => {
  await withFolder(async (folder, device) => {
    const base = minuteRecipe(folder, { stages: [align(steps(4))] });
    const hybrid = withHybrid(only(1))(base);
    await run(device, hybrid);
    const before = weightsOf(hybrid.output);

    const rest = recipe({
      ...base,
      teacher: teacher(hybrid.output),
      surgery: [layers.only(1).to(radRwkv7())],
      output: join(folder, "rest"),
    } as never);
    const report = await run(device, rest);
    assertEquals(inspectCheckpoint(rest.output).spec.mixers.map(({ kind }) => kind), [
      "radRwkv7",
      "radRwkv7",
    ]);
    const after = weightsOf(rest.output);
    assert(after.get("model.layers.1.self_attn.w2")!.some((x) => x !== 0));
    // Layer 0 answers itself: there is nothing to learn for it in stage 1.
    for (const [name, values] of before) {
      if (name.startsWith("model.layers.0.")) assert(same(values, after.get(name)), name);
    }

    const finished = recipe({
      ...base,
      teacher: teacher(rest.output),
      surgery: [],
      stages: [finetune(steps(4))],
      output: join(folder, "finished"),
    } as never);
    const { untrained, stages } = await run(device, finished);
    assertAlmostEquals(untrained.loss, report.student.loss, 1e-6);
    assert(stages[0].loss < untrained.loss);
    assertEquals(inspectCheckpoint(finished.output).spec, inspectCheckpoint(rest.output).spec);
  });
});

Deno.test("RAD-RWKV6, whole and as a hybrid: its folder is what was trained, and a teacher again", async () => {
  await withFolder(async (folder, device) => {
    const whole = minuteRecipe(folder, { surgery: [layers.all.to(radRwkv6())] });
    await run(device, whole);
    const { spec, config } = inspectCheckpoint(whole.output);
    assertEquals(config.modelType, "rwkv6qwen2");
    assertEquals(spec.mixers.map(({ kind }) => kind), ["radRwkv6", "radRwkv6"]);
    const changes = ["time_maa_w1", "time_decay_w1", "gate.weight", "q_proj.weight"];
    const after = weightsOf(whole.output);
    for (const name of changes) {
      const values = after.get(`model.layers.1.self_attn.${name}`);
      assert(values !== undefined && values.every(Number.isFinite));
      assert(values.some((x) => x !== 0), `${name} has learnt`);
    }
    const flags = { rope: true, tokenShift: false, groupNorm: true, gate: 2 } as const;
    const hybrid = minuteRecipe(folder, {
      surgery: [layers.first(1).to(radRwkv6(flags))],
      stages: [align(steps(2)), distill(steps(2))],
    });
    const { student } = await run(device, extend(hybrid, { output: join(folder, "hybrid") }));
    const written = inspectCheckpoint(join(folder, "hybrid"));
    assertEquals(written.spec.mixers.map(({ kind }) => kind), ["radRwkv6", "attention"]);
    assertEquals(student.stateBytesAt1K, 512 + 2 * 8 * 4 * 1024);
    // A student can be trained on, with nothing left to convert.
    const more = extend(whole, {
      teacher: teacher(join(folder, "hybrid")),
      surgery: [layers.only(1).to(radRwkv6(flags))],
      stages: [align(steps(1))],
      output: join(folder, "more"),
    });
    await run(device, more);
    const { mixers } = inspectCheckpoint(join(folder, "more")).spec;
    assertEquals(mixers.map(({ kind }) => kind), ["radRwkv6", "radRwkv6"]);
  });
});
