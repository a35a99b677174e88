import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { text } from "../../dsl/sources.ts";
import { changedCheckpoint, type CheckpointFiles } from "../support/checkpoint.ts";
import { assertRefused } from "../support/task.ts";
import { namesIn, writeTeacher } from "../train/support.ts";
import { convert, type Place, place } from "./convert_support.ts";

/** Fails unless a recipe is refused with one message and nothing is left of it. */
async function assertLeavesNothing(
  own: Place,
  file: string,
  ...expected: readonly (string | RegExp)[]
): Promise<void> {
  const before = namesIn(own.folder);
  assertRefused(await convert(file), ...expected);
  assertEquals(namesIn(own.folder), before);
}

Deno.test("convert refuses a recipe that is not there, or not one", async () => {
  using own = place();
  const missing = join(own.folder, "none.ts");
  await assertLeavesNothing(own, missing, `${missing}: there is no such file`, "Check the path");
  const flag = own.write((json) => json.surgery[0].mixer.grupNorm = true);
  await assertLeavesNothing(
    own,
    flag,
    /surgery\[0\]\.mixer\.grupNorm: expected one of the keys .*, found an unknown key; did you mean groupNorm\?/,
  );
  const nothing = own.write((json) =>
    json.surgery[0].layers = { kind: "every", step: 5, offset: 4 }
  );
  await assertLeavesNothing(
    own,
    nothing,
    "surgery[0].layers: expected at least one of the model's 2 layers, found none selected",
  );
  await assertLeavesNothing(
    own,
    own.write((json) => json.surgery[0].layers = { kind: "only", indices: [7] }),
    "surgery[0].layers: expected layers from 0 to 1, or -2 to -1 from the end, found 7",
  );
});

/** What is wrong with a teacher, and what the message says. */
const BAD_TEACHERS: Readonly<
  Record<string, readonly [(files: CheckpointFiles) => void, string | RegExp]>
> = {
  "a tensor of another type": [
    ({ tensors }) => {
      const { shape } = tensors.get("model.norm.weight")!;
      tensors.set("model.norm.weight", { dtype: "I64", shape, data: new Int32Array(shape[0]) });
    },
    /tensor "model\.norm\.weight": expected .*, found .*I64/,
  ],
  "a tensor of another shape": [
    ({ tensors }) =>
      tensors.set("model.norm.weight", { dtype: "F32", shape: [8], data: new Float32Array(8) }),
    /tensor "model\.norm\.weight": expected .*\[16\], found .*\[8\]/,
  ],
  "a tensor that is missing": [
    ({ tensors }) => void tensors.delete("model.layers.1.mlp.up_proj.weight"),
    /tensor "model\.layers\.1\.mlp\.up_proj\.weight": expected .*found/,
  ],
  "another architecture": [
    ({ config }) => config.model_type = "gpt_neox",
    /model_type: expected one of qwen2, llama, rwkv6qwen2, rwkv7qwen2, found "gpt_neox"/,
  ],
  "a tokenizer with more pieces than embeddings": [
    ({ config, tensors }) => {
      config.vocab_size = 270;
      const { dtype } = tensors.get("model.embed_tokens.weight")!;
      const data = new Float32Array(270 * 16);
      tensors.set("model.embed_tokens.weight", { dtype, shape: [270, 16], data });
    },
    /tokenizer\.json: expected at most 270 pieces, the embeddings of the model, found 280/,
  ],
};

for (const [name, [change, expected]] of Object.entries(BAD_TEACHERS)) {
  Deno.test(`convert refuses a teacher with ${name}`, async () => {
    using own = place();
    using bad = changedCheckpoint(join(own.folder, "teacher"), change);
    const file = own.write((json) => json.teacher.location = bad.folder);
    await assertLeavesNothing(own, file, expected);
  });
}

Deno.test("convert refuses a teacher that is not there, cut off, or has an absurd header", async () => {
  using own = place();
  const none = join(own.folder, "nobody");
  await assertLeavesNothing(
    own,
    own.write((json) => json.teacher.location = none),
    /nobody\/config\.json: expected .*, found no such file or folder; check the path/,
  );
  const weights = join(own.folder, "teacher", "model.safetensors");
  const bytes = Deno.readFileSync(weights);
  const file = own.write();
  Deno.writeFileSync(weights, bytes.subarray(0, bytes.length - 100));
  await assertLeavesNothing(own, file, /model\.safetensors: expected .*, found/);
  const header = new Uint8Array(16);
  new DataView(header.buffer).setBigUint64(0, 2n ** 60n, true);
  Deno.writeFileSync(weights, header);
  await assertLeavesNothing(own, file, /model\.safetensors.*1152921504606846976/);
  Deno.removeSync(weights);
  await assertLeavesNothing(
    own,
    file,
    "teacher: expected model.safetensors or model.safetensors.index.json, found neither",
  );
});

Deno.test("convert refuses text that is empty, or shorter than a context", async () => {
  using own = place();
  Deno.writeTextFileSync(join(own.folder, "empty.txt"), "");
  await assertLeavesNothing(
    own,
    own.write((json) => json.data[0].globs = [join(own.folder, "empty.txt")]),
    /empty\.txt: expected a corpus with at least one token, found none/,
  );
  await assertLeavesNothing(
    own,
    own.write((json) => {
      json.stages[1].context = 65536;
      json.stages[1].tokens = 1e9;
    }),
    /stages\[1\]\.context: expected at most \d+, so that one sequence fits the training tokens, found 65536/,
  );
});

Deno.test("convert refuses a folder that holds something else", async () => {
  using own = place();
  Deno.mkdirSync(own.out, { recursive: true });
  Deno.writeTextFileSync(join(own.out, "thesis.tex"), "");
  const before = namesIn(join(own.out, ".."));
  await assertLeavesNothing(
    own,
    own.write(),
    /first: expected a new folder, an empty one, or an earlier result, found a folder with thesis\.tex; choose another one with --out/,
  );
  assertEquals(namesIn(join(own.out, "..")), before);
  assertEquals(namesIn(own.out), ["thesis.tex"]);
});

Deno.test("convert: a new model's vocabulary must hold its tokenizer's", async () => {
  using own = place();
  const file = own.write((json) => {
    json.teacher = {
      kind: "new",
      config: {
        model_type: "qwen2",
        hidden_size: 16,
        intermediate_size: 32,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        vocab_size: 200,
      },
      tokenizer: { kind: "file", location: writeTeacher(join(own.folder, "teacher")) },
    };
    json.surgery = [];
    json.stages = [{ ...json.stages[1], kind: "pretrain" }];
    json.data = [text(join(own.folder, "text.txt"))];
  });
  await assertLeavesNothing(
    own,
    file,
    /teacher\.config: vocab_size: expected at least the tokenizer's 280 pieces, found 200/,
  );
});
