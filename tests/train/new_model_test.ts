import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { join } from "node:path";
import { radRwkv7 } from "../../dsl/mixers.ts";
import { type Recipe, recipe } from "../../dsl/recipe.ts";
import { constant } from "../../dsl/schedules.ts";
import { layers } from "../../dsl/selectors.ts";
import { text } from "../../dsl/sources.ts";
import { align, pretrain } from "../../dsl/stages.ts";
import { newModel, type NewModelOptions } from "../../dsl/teachers.ts";
import { byteLevelBpe } from "../../dsl/tokenizers.ts";
import { checkpointTokenizer, inspectCheckpoint } from "../../infer/loading.ts";
import {
  QUIET,
  run,
  sentences,
  steps,
  TEACHER_CONFIG,
  weightsOf,
  withFolder,
  writeTeacher,
} from "./support.ts";

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

Deno.test("a new qwen3 has norms of queries and keys, and no biases", async () => {
  await withFolder(async (folder, device) => {
    const { vocab_size: _, ...config } = { ...TEACHER_CONFIG, vocab_size: 0 };
    const written = newRecipe(folder, { config: { ...config, model_type: "qwen3" } });
    await run(device, { ...written, stages: [pretrain(steps(2))] });
    const { config: read } = inspectCheckpoint(written.output);
    assertEquals([read.modelType, read.attentionQkNorm, read.headDim], ["qwen3", true, 8]);
    const names = [...weightsOf(written.output).keys()];
    assert(names.includes("model.layers.1.self_attn.k_norm.weight"));
    assert(names.every((name) => !name.endsWith(".bias")));
  });
});

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
