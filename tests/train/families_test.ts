/** Teachers of other families than qwen2, converted from end to end. */

import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { keepAttention, radRwkv7 } from "../../dsl/mixers.ts";
import { recipe } from "../../dsl/recipe.ts";
import { constant } from "../../dsl/schedules.ts";
import { layers } from "../../dsl/selectors.ts";
import { text } from "../../dsl/sources.ts";
import { align, distill, finetune, type Stage } from "../../dsl/stages.ts";
import type { Rule } from "../../dsl/selectors.ts";
import { teacher } from "../../dsl/teachers.ts";
import { readJsonObject } from "../../formats/json_file.ts";
import { inspectCheckpoint, loadCheckpoint } from "../../infer/loading.ts";
import { openSession } from "../../infer/session.ts";
import { changedCheckpoint } from "../support/checkpoint.ts";
import { assertClose } from "../support/compare.ts";
import { run, sentences, steps, weightsOf, withFolder, writeTeacher } from "./support.ts";

/** Roundings of the parallel form and of decoding; see tests/infer/session_test.ts. */
const TOLERANCE = 2e-5;

/** A recipe for a teacher of a family, in a folder. */
function familyRecipe(
  folder: string,
  config: Readonly<Record<string, unknown>>,
  surgery: readonly Rule[],
  stages: readonly Stage<"align" | "distill" | "finetune">[],
) {
  writeTeacher(join(folder, "teacher"), config);
  Deno.writeTextFileSync(join(folder, "text.txt"), sentences(200));
  return recipe({
    teacher: teacher(join(folder, "teacher")),
    surgery,
    stages,
    data: text(join(folder, "text.txt")),
    output: join(folder, "out"),
    heldOut: 0.1,
  });
}

/** Fails unless a result's loss fell in the steps of its first stage. */
function assertLearns(output: string, steps: number): void {
  const telemetry = Deno.readTextFileSync(join(output, "telemetry.jsonl")).trimEnd().split("\n");
  const losses: number[] = telemetry.map((line) => JSON.parse(line).loss);
  assert(losses.every(Number.isFinite));
  const mean = (from: number) => losses.slice(from, from + 4).reduce((a, b) => a + b) / 4;
  const [before, after] = [mean(0), mean(steps - 4)];
  assert(after < 0.95 * before, `${before} to ${after}`);
}

const QWEN3 = { model_type: "qwen3", head_dim: 12, num_key_value_heads: 1 };
const MISTRAL = { model_type: "mistral", num_hidden_layers: 3, sliding_window: 5 };

Deno.test("a qwen3 becomes RAD-RWKV7, and its norms of queries and keys go with it", async () => {
  await withFolder(async (folder, device) => {
    const stages = [align(steps(20, { lr: constant(1e-2) })), distill(steps(4))];
    const written = familyRecipe(folder, QWEN3, [layers.all.to(radRwkv7())], stages);
    await run(device, written);
    assertLearns(written.output, 20);
    const config = readJsonObject(join(written.output, "config.json"), 1e6);
    assertEquals(
      [config.model_type, config.attention_qk_norm, config.attention_bias, config.head_dim],
      ["rwkv7qwen2", true, false, 12],
    );
    const weights = weightsOf(written.output);
    for (const norm of ["q_norm", "k_norm"]) {
      const values = weights.get(`model.layers.1.self_attn.${norm}.weight`)!;
      assertEquals(values.length, 12);
      assert(values.some((x) => x !== 1), `${norm} is trained`);
    }
    const { spec } = inspectCheckpoint(written.output);
    assertEquals(spec.mixers.map(({ kind }) => kind), ["radRwkv7", "radRwkv7"]);
    assertEquals(spec.config.attentionQkNorm, true);
  });
});

Deno.test("a qwen3's norms start from the teacher's, or anew with their projection", async () => {
  await withFolder(async (folder, device) => {
    const written = familyRecipe(folder, QWEN3, [
      layers.all.to(radRwkv7()),
      layers.only(1).to(radRwkv7({ reinitialise: ["receptance"] })),
    ], []);
    const name = (layer: number, norm: string) => `model.layers.${layer}.self_attn.${norm}.weight`;
    const folderOf = written.teacher.kind === "checkpoint" ? written.teacher.location : "";
    const norms = [0, 1].flatMap((layer) => ["q_norm", "k_norm"].map((norm) => name(layer, norm)));
    const given = (name: string) => Float32Array.from({ length: 12 }, (_, i) => i + name.length);
    using changed = changedCheckpoint(folderOf, ({ tensors }) => {
      for (const norm of norms) {
        const data = new Uint8Array(given(norm).buffer);
        tensors.set(norm, { dtype: "F32", shape: [12], data });
      }
    });
    await run(device, { ...written, teacher: teacher(changed.folder) });
    const weights = weightsOf(written.output);
    for (const norm of norms) {
      const expected = norm === name(1, "q_norm") ? new Float32Array(12).fill(1) : given(norm);
      assertEquals(weights.get(norm), expected, norm);
    }
  });
});

Deno.test("a mistral becomes a hybrid that keeps its window in the layers that stay", async () => {
  await withFolder(async (folder, device) => {
    const written = familyRecipe(folder, MISTRAL, [
      layers.all.to(radRwkv7()),
      layers.only(1).to(keepAttention()),
    ], [align(steps(20, { lr: constant(1e-2) })), distill(steps(4))]);
    await run(device, written);
    assertLearns(written.output, 20);
    const config = readJsonObject(join(written.output, "config.json"), 1e6);
    assertEquals(
      [config.model_type, config.attention_layers, config.use_sliding_window],
      ["rwkv7qwen2", [1], true],
    );
    assertEquals([config.sliding_window, config.layer_types], [
      5,
      ["linear_attention", "sliding_attention", "linear_attention"],
    ]);
    const checkpoint = inspectCheckpoint(written.output);
    const [, kept] = checkpoint.spec.mixers;
    assertEquals(kept, { kind: "attention", window: 5 });
    // What is read back decodes as it was trained, and its state does not grow any more.
    const model = loadCheckpoint(device, checkpoint);
    const [one, all] = [openSession(model), openSession(model)];
    const ids = Array.from({ length: 40 }, (_, i) => (i * 37) % 280);
    const rows: Float32Array[] = [];
    for (const id of ids) rows.push(await one.advance([[id]]));
    assertClose("logits", rows[39], await all.advance([ids]), TOLERANCE);
    // Five keys and values of one head, and a matrix of two heads in each of two layers.
    assertEquals(one.stateBytes, 4 * (2 * 5 * 8 + 2 * 2 * 8 * 8));
    for (const session of [one, all]) session.free();
    model.free();
  });
});

Deno.test("a mistral without surgery is trained as it is, and stays a mistral", async () => {
  await withFolder(async (folder, device) => {
    const written = familyRecipe(folder, MISTRAL, [], [finetune(steps(4))]);
    const { student, untrained } = await run(device, written);
    assert(student.loss < untrained.loss);
    const config = readJsonObject(join(written.output, "config.json"), 1e6);
    assertEquals([config.model_type, config.sliding_window], ["mistral", 5]);
    const names = (path: string) => [...weightsOf(path).keys()].sort();
    assertEquals(names(written.output), names(join(folder, "teacher")));
  });
});
