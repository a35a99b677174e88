import { assertEquals, assertRejects } from "@std/assert";
import { evaluate } from "../../infer/evaluation.ts";
import { forwardLogits } from "../../infer/logits.ts";
import type { LoadedModel } from "../../infer/session.ts";
import { assertClose } from "../support/compare.ts";
import { withCpu } from "../support/devices.ts";
import { ATTENTION, radRwkv7, randomModel } from "../support/model.ts";
import { random } from "../support/random.ts";

const VOCABULARY = 50;

function stream(count: number) {
  const source = random(9);
  const ids = Int32Array.from({ length: count }, () => source.below(VOCABULARY));
  return { ids, length: count, read: (at: number, n: number) => ids.slice(at, at + n) };
}

/** The sum of losses of texts of one length by its definition: from logits, in f64. */
async function sumOfLosses(model: LoadedModel, ids: Int32Array, targets: Int32Array, time: number) {
  let sum = 0;
  let token = 0;
  for await (const block of forwardLogits(model, ids, time)) {
    for (let at = 0; at < block.length; at += VOCABULARY) {
      const row = Array.from(block.subarray(at, at + VOCABULARY));
      const top = Math.max(...row);
      const normaliser = row.reduce((n, z) => n + Math.exp(z - top), 0);
      sum += Math.log(normaliser) + top - row[targets[token++]];
    }
  }
  return sum;
}

/** The mean loss: full windows, and the one that is left. */
async function expectedLoss(model: LoadedModel, ids: Int32Array, context: number): Promise<number> {
  const total = ids.length - 1;
  const full = total - total % context;
  const parts = [[0, full, context], [full, total, total - full]]
    .filter(([begin, end]) => end > begin)
    .map(([begin, end, time]) =>
      sumOfLosses(model, ids.slice(begin, end), ids.slice(begin + 1, end + 1), time)
    );
  return (await Promise.all(parts)).reduce((a, b) => a + b) / total;
}

Deno.test("evaluate: every token but the first, in windows that start afresh", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const model = randomModel(device, [radRwkv7(), ATTENTION]);
    // Full windows only; a last one of one token; of some; one window; more windows than a run takes.
    for (
      const [count, context] of [[33, 16], [34, 16], [43, 16], [10, 16], [9, 8], [4300, 4], [2, 1]]
    ) {
      const { ids, ...readable } = stream(count);
      const { tokens, loss, perplexity } = await evaluate(model, readable, context);
      assertEquals(tokens, count - 1);
      const expected = await expectedLoss(model, ids, context);
      assertClose(`${count} tokens in windows of ${context}`, [loss], [expected], 2e-6);
      assertEquals(perplexity, Math.exp(loss));
    }
    model.free();
  });
});

Deno.test("evaluate: without a token to predict there is nothing to measure", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    const model = randomModel(device, [radRwkv7()]);
    for (const count of [0, 1]) {
      const message = `evaluate: expected at least 2 tokens, found ${count}`;
      await assertRejects(() => evaluate(model, stream(count), 16), RangeError, message);
    }
    model.free();
  });
});
