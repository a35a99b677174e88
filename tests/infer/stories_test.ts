/** A real pretrained model against transformers' logits and text. */

import { assert, assertEquals } from "@std/assert";
import { openSafetensors } from "../../formats/safetensors/store.ts";
import { evaluate } from "../../infer/evaluation.ts";
import { forwardLogits } from "../../infer/logits.ts";
import { generate } from "../../infer/generation.ts";
import {
  checkpointTokenizer,
  inspectCheckpoint,
  loadCheckpoint,
  type LoadedCheckpoint,
} from "../../infer/loading.ts";
import { openSession } from "../../infer/session.ts";
import { assertClose } from "../support/compare.ts";
import { withCpu } from "../support/devices.ts";
import { sharedPath } from "../support/shared.ts";

const FOLDER = sharedPath("models", "stories260k");
/** Largest difference of a logit. */
const LOGIT_TOLERANCE = 1e-4;

const withStories = (run: (model: LoadedCheckpoint) => Promise<void>) =>
  withCpu({ threads: 2 }, async (device) => {
    const model = loadCheckpoint(device, inspectCheckpoint(FOLDER));
    await run(model);
    model.free();
  });

const [BATCH, TIME, VOCABULARY] = [2, 24, 512];

function expected() {
  using store = openSafetensors(`${FOLDER}/expected.safetensors`);
  return {
    ids: store.readI32("ids"),
    logits: store.readF32("logits"),
    crossEntropy: store.readF32("cross_entropy")[0],
    greedy: store.readI32("greedy"),
  };
}

function assertLogits(what: string, found: Float32Array, wanted: Float32Array): void {
  const error = found.reduce((top, x, i) => Math.max(top, Math.abs(x - wanted[i])), 0);
  assert(error <= LOGIT_TOLERANCE, `${what}: a logit is ${error} off`);
}

Deno.test("stories260k: logits, in parallel and token by token", async () => {
  await withStories(async (model) => {
    const { ids, logits } = expected();
    let at = 0;
    for await (const block of forwardLogits(model, ids, TIME)) {
      assertLogits("parallel", block, logits.subarray(at, at + block.length));
      at += block.length;
    }
    assertEquals(at, BATCH * TIME * VOCABULARY);
    const session = openSession(model, BATCH);
    for (let t = 0; t < TIME; t++) {
      const found = await session.advance([[ids[t]], [ids[TIME + t]]]);
      for (let b = 0; b < BATCH; b++) {
        const row = (b * TIME + t) * VOCABULARY;
        const own = found.subarray(b * VOCABULARY, (b + 1) * VOCABULARY);
        assertLogits(`text ${b}, token ${t}`, own, logits.subarray(row, row + VOCABULARY));
      }
    }
    session.free();
  });
});

Deno.test("stories260k: the greedy text", async () => {
  await withStories(async (model) => {
    const json = JSON.parse(Deno.readTextFileSync(`${FOLDER}/expected.json`));
    const tokenizer = checkpointTokenizer(FOLDER, model.config);
    const prompt = tokenizer.encode(json.prompts[0].text);
    const options = { tokens: 64, temperature: 0, topP: 1, seed: 0 };
    const ids = await Array.fromAsync(generate(model, prompt, options));
    assertEquals([...prompt, ...ids], [...expected().greedy]);
    assertEquals(tokenizer.decode([...prompt, ...ids]), json.greedy_text);
  });
});

Deno.test("stories260k: the loss", async () => {
  await withStories(async (model) => {
    const { ids, crossEntropy } = expected();
    const losses: number[] = [];
    for (let b = 0; b < BATCH; b++) {
      const own = ids.subarray(b * TIME, (b + 1) * TIME);
      const text = { length: TIME, read: (at: number, n: number) => own.slice(at, at + n) };
      losses.push((await evaluate(model, text, TIME)).loss);
    }
    assertClose("loss", [(losses[0] + losses[1]) / 2], [crossEntropy], 1e-5);
  });
});
