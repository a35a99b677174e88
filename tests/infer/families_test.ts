/** Teachers of every family, made by transformers 5.18 (tests/models/make_fixtures.py), decoded. */

import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { relativeError } from "../../cli/golden/result.ts";
import { openSafetensors } from "../../formats/safetensors/store.ts";
import { forwardLogits } from "../../infer/logits.ts";
import { inspectCheckpoint, loadCheckpoint } from "../../infer/loading.ts";
import { type LoadedModel, openSession } from "../../infer/session.ts";
import { changedCheckpoint } from "../support/checkpoint.ts";
import { assertClose } from "../support/compare.ts";
import { withCpu } from "../support/devices.ts";

/** Roundings in other orders than transformers'; see session_test.ts. */
const TOLERANCE = 2e-5;

const golden = (name: string) =>
  fileURLToPath(new URL(`../models/fixtures/golden/${name}`, import.meta.url));

const FAMILIES = [
  "tiny-qwen2-tied",
  "tiny-qwen2-window",
  "tiny-qwen3",
  "tiny-qwen3-window",
  "tiny-llama3-bands",
  "tiny-llama-yarn",
  "tiny-llama-linear",
  "tiny-mistral",
];

/** Texts [2][time] and transformers' logits of each [time][vocabulary]. */
function expectedOf(name: string) {
  using store = openSafetensors(`${golden(name)}/expected.safetensors`);
  const [batch, time, vocabulary] = store.info("logits").shape;
  const [ids, logits] = [store.readI32("ids"), store.readF32("logits")];
  const texts = Array.from({ length: batch }, (_, b) => ids.slice(b * time, (b + 1) * time));
  const row = (b: number, t: number) =>
    logits.slice((b * time + t) * vocabulary, (b * time + t + 1) * vocabulary);
  return { texts, time, vocabulary, row, logits };
}

/** The logits of a text by the parallel form, all of them. */
async function parallel(model: LoadedModel, ids: Int32Array): Promise<Float32Array> {
  const logits = new Float32Array(ids.length * model.spec.config.vocabSize);
  let at = 0;
  for await (const block of forwardLogits(model, ids, ids.length)) {
    logits.set(block, at);
    at += block.length;
  }
  return logits;
}

const largest = (logits: Float32Array) => logits.indexOf(logits.reduce((a, b) => Math.max(a, b)));

for (const name of FAMILIES) {
  Deno.test(`${name}: decoding gives transformers' logits, however the text comes in`, async () => {
    const { texts, time, vocabulary, row } = expectedOf(name);
    await withCpu({ threads: 2 }, async (device) => {
      const model = loadCheckpoint(device, inspectCheckpoint(golden(name)));
      for (const parts of [new Array<number>(time).fill(1), [3, 4, time - 8, 1], [time - 1, 1]]) {
        const session = openSession(model, texts.length);
        let at = 0;
        for (const part of parts) {
          if (part === 0) continue;
          const logits = await session.advance(texts.map((text) => text.subarray(at, at + part)));
          at += part;
          texts.forEach((_, b) => {
            const own = logits.subarray(b * vocabulary, (b + 1) * vocabulary);
            assertClose(`text ${b} after ${at} of ${parts}`, own, row(b, at - 1), TOLERANCE);
          });
        }
        session.free();
      }
      model.free();
    });
  });

  Deno.test(`${name}: what is decoded greedily is what the parallel form prefers`, async () => {
    const { texts: [text], vocabulary } = expectedOf(name);
    await withCpu({ threads: 2 }, async (device) => {
      const model = loadCheckpoint(device, inspectCheckpoint(golden(name)));
      const session = openSession(model);
      const written = [...text.slice(0, 4)];
      let logits = await session.advance([written]);
      while (written.length < 28) {
        written.push(largest(logits));
        logits = await session.advance([written.slice(-1)]);
      }
      session.free();
      const whole = await parallel(model, Int32Array.from(written));
      for (let t = 4; t < written.length; t++) {
        const before = whole.subarray((t - 1) * vocabulary, t * vocabulary);
        assertEquals(written[t], largest(before), `token ${t}`);
      }
      model.free();
    });
  });
}

Deno.test("a window bounds what is kept: its rows, and no more", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    const model = loadCheckpoint(device, inspectCheckpoint(golden("tiny-qwen3-window")));
    const session = openSession(model);
    // Two layers with a window of 7 and a whole one; keys and values of 2 heads of 12 in f32.
    const bytes = (tokens: number) => 4 * 2 * 2 * 12 * (2 * Math.min(7, tokens) + tokens);
    for (const tokens of [5, 2, 200]) {
      await session.advance([new Int32Array(tokens)]);
      assertEquals(session.stateBytes, bytes(session.position));
    }
    session.free();
    model.free();
  });
});

/** What a config says otherwise, and the logits are far from transformers'. */
const CHANGES: readonly (readonly [name: string, key: string, value: unknown])[] = [
  ["tiny-mistral", "sliding_window", 7],
  ["tiny-mistral", "sliding_window", 9],
  ["tiny-mistral", "sliding_window", null],
  ["tiny-qwen2-window", "max_window_layers", 0],
  ["tiny-qwen2-window", "max_window_layers", 2],
  ["tiny-qwen3-window", "layer_types", new Array(3).fill("sliding_attention")],
  ["tiny-llama3-bands", "rope_parameters", { rope_theta: 100 }],
  ["tiny-llama-yarn", "rope_parameters", { rope_theta: 100 }],
  ["tiny-llama-linear", "rope_parameters", { rope_theta: 100 }],
];

Deno.test("the checkpoints of transformers tell windows, layers and scalings apart", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    for (const [name, key, value] of CHANGES) {
      const { texts: [text], logits } = expectedOf(name);
      using changed = changedCheckpoint(golden(name), ({ config }) => {
        // What the older keys say is not to be seen through the newer ones.
        if (key === "max_window_layers") delete config.layer_types;
        config[key] = value;
      });
      const model = loadCheckpoint(device, inspectCheckpoint(changed.folder));
      const found = await parallel(model, text);
      const apart = relativeError(found, logits.slice(0, found.length));
      assert(apart > 100 * TOLERANCE, `${name} with ${key} ${JSON.stringify(value)}: ${apart}`);
      model.free();
    }
  });
});
