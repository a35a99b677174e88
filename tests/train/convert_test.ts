import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import type { Device } from "../../devices/device.ts";
import { withHybrid } from "../../dsl/compose.ts";
import { radRwkv7 } from "../../dsl/mixers.ts";
import { RecipeError } from "../../dsl/problem.ts";
import { type Recipe, recipe } from "../../dsl/recipe.ts";
import { constant } from "../../dsl/schedules.ts";
import { layers, only } from "../../dsl/selectors.ts";
import { fromJson, hash } from "../../dsl/serialise.ts";
import { text } from "../../dsl/sources.ts";
import { align, distill, finetune, pretrain } from "../../dsl/stages.ts";
import { newModel, type NewModelOptions } from "../../dsl/teachers.ts";
import { byteLevelBpe } from "../../dsl/tokenizers.ts";
import { match } from "../../dsl/trains.ts";
import { FormatError } from "../../formats/error.ts";
import { openCheckpoint } from "../../formats/safetensors/checkpoint.ts";
import { evaluate } from "../../infer/evaluate.ts";
import { checkpointTokenizer, inspectCheckpoint, loadCheckpoint } from "../../infer/load.ts";
import { runRecipe } from "../../train/convert.ts";
import { NotFiniteError } from "../../train/finite.ts";
import { changedCheckpoint, temporaryFolder } from "../support/checkpoint.ts";
import { counted } from "../support/counted_device.ts";
import { withCpu } from "../support/devices.ts";
import {
  minuteRecipe,
  namesIn,
  QUIET,
  run,
  sentences,
  steps,
  TEACHER_CONFIG,
  writeTeacher,
} from "./support.ts";

async function withFolder(body: (folder: string, device: Device) => Promise<void>): Promise<void> {
  using temporary = temporaryFolder();
  await withCpu({ threads: 1 }, (device) => body(temporary.folder, device));
}

/** Tensors of a checkpoint as f32. */
function weightsOf(folder: string): Map<string, Float32Array> {
  using tensors = openCheckpoint(folder);
  return new Map([...tensors.tensors.keys()].map((name) => [name, tensors.readF32(name)]));
}

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
    assert(teacher!.tokensPerSecond > 0 && student.tokensPerSecond > 0);
    assert(report.prompt.length > 0 && student.sample.length > 0 && teacher!.sample.length > 0);
    assertEquals(report.seed, 4);
    assertEquals(report.recipeHash, hash(written));
    assertEquals(report.device, device.description);
    assertEquals(report.versions.deno, Deno.version.deno);
    assert(report.machine.cores >= 1 && report.machine.name.length > 0);
    const trained = stages.reduce((sum, { seconds }) => sum + seconds, 0);
    assert(report.seconds > trained);
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
        progress: (what) => void (what === "tokenising" && tokenised.push(what)),
      },
    });
    assertEquals(stages.map(({ context, tokens }) => [context, tokens]), [
      [16, 64],
      [32, 128],
      [16, 64],
      [16, 64],
    ]);
    assertEquals(tokenised, ["tokenising", "tokenising"], "each text once");
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

/** A new model of the teacher's kind. */
function newRecipe(folder: string, changes: Partial<NewModelOptions> = {}): Recipe {
  Deno.writeTextFileSync(join(folder, "text.txt"), sentences(300));
  const { vocab_size: _, ...config } = { ...TEACHER_CONFIG, vocab_size: 0 };
  return recipe({
    teacher: newModel({
      config: { ...config, model_type: "qwen2" },
      tokenizer: byteLevelBpe(300),
      ...changes,
    }),
    stages: [pretrain({ ...steps(60), lr: constant(1e-2) })],
    data: text(join(folder, "text.txt")),
    output: join(folder, "new"),
    heldOut: 0.1,
  });
}

Deno.test("a new model is made from text alone, tokenizer included, and can be converted", async () => {
  await withFolder(async (folder, device) => {
    const written = newRecipe(folder);
    const notes: string[] = [];
    const report = await run(device, written, {
      events: { ...QUIET, note: (message) => notes.push(message) },
      dtype: "bfloat16",
    });
    assert(notes[0].startsWith("learning a vocabulary of 300 pieces"), notes[0]);
    assertEquals([report.ratio, report.teacher, report.untrained.ratio], [
      undefined,
      undefined,
      undefined,
    ]);
    // 300 pieces at first; after training, words that repeat are known.
    assertAlmostEquals(report.untrained.loss, Math.log(300), 0.2);
    assert(report.stages[0].loss < 4.5, `${report.stages[0].loss}`);
    const { config, spec } = inspectCheckpoint(written.output);
    assertEquals([config.vocabSize, config.torchDtype, config.eosTokenIds], [300, "bfloat16", [0]]);
    assert(spec.mixers.every(({ kind }) => kind === "attention"));
    assertEquals(checkpointTokenizer(written.output, config).vocabularySize, 300);

    const conversion = recipe({
      teacher: { kind: "checkpoint", location: written.output },
      surgery: [layers.all.to(radRwkv7())],
      stages: [align(steps(2))],
      data: text(join(folder, "text.txt")),
      output: join(folder, "converted"),
    });
    const { ratio } = await run(device, conversion);
    assert(ratio! < 2, `${ratio}`);
    assertEquals(
      Deno.readTextFileSync(join(folder, "converted", "tokenizer.json")),
      Deno.readTextFileSync(join(written.output, "tokenizer.json")),
    );
  });
});

Deno.test("a new model takes an existing tokenizer, as a folder or as a file of any name", async () => {
  await withFolder(async (folder, device) => {
    const teacher = writeTeacher(join(folder, "teacher"));
    const other = join(folder, "other");
    Deno.mkdirSync(other);
    Deno.copyFileSync(join(teacher, "tokenizer.json"), join(other, "mine.json"));
    Deno.copyFileSync(join(teacher, "tokenizer_config.json"), join(other, "tokenizer_config.json"));
    for (
      const tokenizer of [teacher, join(teacher, "tokenizer.json"), join(other, "mine.json")]
    ) {
      const base = newRecipe(folder, { tokenizer });
      const written = recipe({ ...base, stages: [pretrain(steps(1))] } as never);
      await run(device, written);
      const { config } = inspectCheckpoint(written.output);
      const own = checkpointTokenizer(written.output, config);
      assertEquals([config.vocabSize, own.vocabularySize, own.eosId], [280, 280, 0]);
    }
  });
});

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
  });
});

Deno.test("bad input does not touch an unfinished run, even without --resume", async () => {
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
    let asked = 0;
    const stopped = await runRecipe(written, {
      ...options,
      listen: () => ({
        get wanted() {
          return asked++ === 2;
        },
        [Symbol.dispose]: () => {},
      }),
    });
    assert(stopped.kind === "stopped");
    const left = namesIn(stopped.folder);
    Deno.removeSync(join(folder, "text.txt"));
    await assertRejects(() => run(device, written), FormatError, "text.txt");
    assertEquals(namesIn(stopped.folder), left);
    // Its tokens are its own.
    const resumed = await run(device, written, { resume: true });
    assertEquals(resumed.stages.length, 1);
  });
});
