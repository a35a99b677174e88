import { assert, assertEquals, assertThrows } from "@std/assert";
import { FormatError } from "../../formats/error.ts";
import { evaluate } from "../../infer/evaluation.ts";
import { inspectCheckpoint, loadCheckpoint } from "../../infer/loading.ts";
import { storedAs, WEIGHT_FORMATS } from "../../infer/weights.ts";
import { modelParameters } from "../../models/decoder.ts";
import { changedCheckpoint } from "../support/checkpoint.ts";
import { withCpu } from "../support/devices.ts";
import { radRwkv6, radRwkv7, smallConfig } from "../support/model.ts";
import { sharedPath } from "../support/shared.ts";

const STORIES = sharedPath("models", "stories260k");

Deno.test("formats: projections, embeddings and head are held in them, all else in f32", () => {
  const config = smallConfig({ hiddenSize: 64, intermediateSize: 40, layers: 2, headDim: 16 });
  const parameters = modelParameters({ config, mixers: [radRwkv7(), radRwkv6({ gate: 1 })] });
  const stored = (format: typeof WEIGHT_FORMATS[number]) =>
    storedAs(parameters, format).flatMap(({ name, dtype }) => dtype === format ? [name] : []);
  const mixer = (layer: number) =>
    ["q", "k", "v", "o"].map((letter) => `model.layers.${layer}.self_attn.${letter}_proj.weight`);
  const mlp = (layer: number, names: readonly string[]) =>
    names.map((name) => `model.layers.${layer}.mlp.${name}_proj.weight`);
  const all = (names: readonly string[]) => [
    "model.embed_tokens.weight",
    ...mixer(0),
    ...mlp(0, names),
    ...mixer(1),
    "model.layers.1.self_attn.gate.weight",
    ...mlp(1, names),
    "lm_head.weight",
  ];
  assertEquals(stored("f32"), []);
  assertEquals(stored("bf16"), all(["gate", "up", "down"]));
  // Rows of 40 are not made of blocks of 32.
  assertEquals(stored("q8_0"), all(["gate", "up"]));
  assertEquals(stored("q4_0"), all(["gate", "up"]));
});

Deno.test("formats: what they do to the perplexity of a real model", async () => {
  const text = Deno.readTextFileSync(sharedPath("text", "wizard-of-oz.txt")).slice(0, 4000);
  const ids = Int32Array.from(text, (c) => 3 + c.charCodeAt(0) % 400);
  await withCpu({ threads: 2 }, async (device) => {
    const losses: number[] = [];
    for (const format of WEIGHT_FORMATS) {
      const model = loadCheckpoint(device, inspectCheckpoint(STORIES), format);
      const read = (start: number, count: number) => ids.subarray(start, start + count);
      losses.push((await evaluate(model, { length: 2000, read }, 128)).loss);
      model.free();
    }
    const changes = losses.map((loss) => Math.abs(loss - losses[0]) / losses[0]);
    assert(changes[1] < 2e-3 && changes[2] < 2e-3 && changes[3] < 0.1, `${changes}`);
    assert(changes.slice(1).every((change) => change > 0));
  });
});

Deno.test("formats: a weight that a scale does not hold is refused by its name", async () => {
  using copy = changedCheckpoint(STORIES, ({ tensors }) => {
    const data = tensors.get("model.layers.1.mlp.up_proj.weight")!.data as Uint8Array;
    new DataView(data.buffer, data.byteOffset).setFloat32(4 * 70, 1e9, true);
  });
  await withCpu({ threads: 1 }, (device) => {
    const checkpoint = inspectCheckpoint(copy.folder);
    loadCheckpoint(device, checkpoint, "bf16").free();
    const { message } = assertThrows(() => loadCheckpoint(device, checkpoint, "q8_0"), FormatError);
    for (const part of ["up_proj.weight", "weights that q8_0 holds", "--weights f32 or bf16"]) {
      assert(message.includes(part), message);
    }
  });
});
