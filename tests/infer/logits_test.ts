import { assertEquals } from "@std/assert";
import { forwardLogits } from "../../infer/logits.ts";
import type { LoadedModel } from "../../infer/session.ts";
import { assertClose } from "../support/compare.ts";
import { withCpu } from "../support/devices.ts";
import { ATTENTION, radRwkv7, randomModel } from "../support/model.ts";
import { random } from "../support/random.ts";

/** Other sizes of blocks sum in another order; see session_test.ts. */
const TOLERANCE = 2e-5;

function ids(count: number): Int32Array {
  const source = random(4);
  return Int32Array.from({ length: count }, () => source.below(50));
}

/** All logits, and how many tokens came at a time. */
async function logitsOf(model: LoadedModel, texts: Int32Array, time: number) {
  const { vocabSize } = model.spec.config;
  const logits = new Float32Array(texts.length * vocabSize);
  const blocks: number[] = [];
  let at = 0;
  for await (const block of forwardLogits(model, texts, time)) {
    logits.set(block, at);
    at += block.length;
    blocks.push(block.length / vocabSize);
  }
  assertEquals(at, logits.length);
  return { logits, blocks };
}

Deno.test("forward: a large vocabulary comes in blocks of tokens", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const vocabSize = 1 << 17;
    const model = randomModel(device, [radRwkv7()], { vocabSize });
    const text = ids(150);
    const { logits, blocks } = await logitsOf(model, text, 150);
    assertEquals(blocks, [128, 22]);
    const first = await logitsOf(model, text.slice(0, 20), 20);
    const start = logits.subarray(0, 20 * vocabSize);
    assertClose("the first tokens", start, first.logits, TOLERANCE);
    const again = await logitsOf(model, text, 150);
    const row = (of: Float32Array) => of.subarray(140 * vocabSize, 141 * vocabSize);
    assertEquals(row(again.logits), row(logits));
    model.free();
  });
});

Deno.test("forward: more texts than go through the model together", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const model = randomModel(device, [radRwkv7(), ATTENTION]);
    const time = 700;
    const texts = ids(7 * time);
    const { logits, blocks } = await logitsOf(model, texts, time);
    assertEquals(blocks, [5 * time, 2 * time]);
    for (const text of [0, 4, 5, 6]) {
      const alone = await logitsOf(model, texts.slice(text * time, (text + 1) * time), time);
      const own = logits.subarray(text * time * 50, (text + 1) * time * 50);
      assertClose(`text ${text}`, own, alone.logits, TOLERANCE);
    }
    model.free();
  });
});

Deno.test("forward: texts longer than what goes through together", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const model = randomModel(device, [radRwkv7()]);
    const text = ids(2 * 4200);
    const { logits, blocks } = await logitsOf(model, text, 4200);
    assertEquals(blocks, [4200, 4200]);
    const short = await logitsOf(model, text.slice(4200, 4300), 100);
    const start = logits.subarray(4200 * 50, 4300 * 50);
    assertClose("the second text", start, short.logits, TOLERANCE);
    model.free();
  });
});
