import { assert, assertEquals, assertThrows } from "@std/assert";
import { MODEL_TYPES } from "../../formats/hf_config/config.ts";
import { FormatError } from "../../formats/error.ts";
import { changedCheckpoint, type CheckpointFiles } from "../support/checkpoint.ts";
import { checkpointTokenizer, inspectCheckpoint, loadCheckpoint } from "../../infer/loading.ts";
import { withCpu } from "../support/devices.ts";
import { sharedPath } from "../support/shared.ts";

const STORIES = sharedPath("models", "stories260k");
const RWKV6 = sharedPath("golden", "tiny-rwkv6");
const RWKV7 = sharedPath("golden", "tiny-rwkv7");

/** What inspecting a changed copy of a checkpoint says. */
function refusal(source: string, change: (files: CheckpointFiles) => void): string {
  using copy = changedCheckpoint(source, change);
  const { message } = assertThrows(() => inspectCheckpoint(copy.folder), FormatError);
  return message.replaceAll(copy.folder, "");
}

Deno.test("checkpoints: a mixer's flags and ranks are what config.json says", () => {
  const { spec, config } = inspectCheckpoint(RWKV7);
  assertEquals(config.modelType, "rwkv7qwen2");
  assertEquals(spec.mixers.length, 3);
  assertEquals(spec.mixers[1], {
    kind: "radRwkv7",
    rope: true,
    balanceState: true,
    groupNorm: false,
    gate: 2,
    ranks: { decay: 8, iclr: 8, valueResidual: 8, gate: 8 },
  });
  const rwkv6 = inspectCheckpoint(RWKV6);
  assertEquals(rwkv6.config.modelType, "rwkv6qwen2");
  assertEquals(rwkv6.spec.mixers[2], {
    kind: "radRwkv6",
    rope: false,
    balanceState: true,
    groupNorm: false,
    gate: 1,
    tokenShift: true,
    ranks: { tokenShift: 8, decay: 8, gate: 1 },
  });
});

Deno.test("checkpoints: ranks that config.json leaves out are those of the tensors", () => {
  for (const folder of [RWKV6, RWKV7]) {
    using copy = changedCheckpoint(folder, ({ config }) => {
      for (const key of Object.keys(config)) if (key.startsWith("lora_rank")) delete config[key];
    });
    assertEquals(inspectCheckpoint(copy.folder).spec, {
      ...inspectCheckpoint(folder).spec,
      config: inspectCheckpoint(copy.folder).config,
    });
  }
});

Deno.test("checkpoints: weights are read as f32, whatever they are stored as", async () => {
  const values = Float32Array.from({ length: 64 }, (_, i) => 1 + i / 64);
  await withCpu({ threads: 1 }, async (device) => {
    for (const dtype of ["F64", "F32", "F16", "BF16"] as const) {
      using copy = changedCheckpoint(STORIES, ({ tensors }) => {
        tensors.set("model.norm.weight", { dtype, shape: [64], data: values });
      });
      const model = loadCheckpoint(device, inspectCheckpoint(copy.folder));
      assertEquals(await model.store.read("model.norm.weight"), values, dtype);
      model.free();
    }
  });
});

Deno.test("checkpoints: everything that does not fit is named", () => {
  assertEquals(
    refusal(STORIES, ({ config }) => config.model_type = "gpt2"),
    `/config.json: model_type: expected one of ${MODEL_TYPES.join(", ")}, found "gpt2"; ` +
      "other architectures are not implemented",
  );
  const wide = refusal(STORIES, ({ config }) => config.head_dim = 260);
  assertEquals(
    wide,
    "/config.json: head_dim: expected a multiple of 4 from 8 to 256, found 260; " +
      "other head widths have no kernels",
  );
  const missing = refusal(STORIES, ({ tensors }) => {
    tensors.delete("model.norm.weight");
    tensors.delete("model.layers.2.self_attn.q_proj.weight");
  });
  assert(missing.startsWith("2 problems"), missing);
  assert(missing.includes('"model.norm.weight": expected a tensor of shape [64]'), missing);
  assert(missing.includes('"model.layers.2.self_attn.q_proj.weight"'), missing);
  const shape = refusal(STORIES, ({ tensors }) => {
    const { data } = tensors.get("model.norm.weight")!;
    tensors.set("model.norm.weight", { dtype: "F32", shape: [2, 32], data });
  });
  assert(shape.includes("expected shape [64], found [2, 32]"), shape);
  const dtype = refusal(STORIES, ({ tensors }) => {
    const data = new Int32Array(64);
    tensors.set("model.norm.weight", { dtype: "I32", shape: [64], data });
  });
  assert(dtype.includes("expected dtype F64, F32, F16, BF16, found I32"), dtype);
});

Deno.test("checkpoints: a tokenizer with more pieces than there are embeddings", () => {
  const { config } = inspectCheckpoint(STORIES);
  const { message } = assertThrows(
    () => checkpointTokenizer(STORIES, { ...config, vocabSize: 511 }),
    FormatError,
  );
  assert(message.includes("expected at most 511 pieces"), message);
  assert(message.includes("found 512"), message);
  assertEquals(checkpointTokenizer(STORIES, config).vocabularySize, 512);
});
