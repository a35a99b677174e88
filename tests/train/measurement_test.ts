import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { constant } from "../../dsl/schedules.ts";
import { distill } from "../../dsl/stages.ts";
import { evaluate } from "../../infer/evaluation.ts";
import { measureInference, promptOf } from "../../train/inference.ts";
import { NotFiniteError } from "../../train/finite.ts";
import { createMeasures, heldEvaluator } from "../../train/measurement.ts";
import type { TokenStream } from "../../train/data.ts";
import type { Tokenizer } from "../../formats/tokenizer/tokenizer.ts";
import { withCpu } from "../support/devices.ts";
import { ATTENTION, radRwkv7, randomModel } from "../support/model.ts";
import { random } from "../support/random.ts";

/** Ids of a vocabulary of 50, and how often they were read. */
function text(length: number, seed: number): TokenStream & { reads: number } {
  const { below } = random(seed);
  const ids = Int32Array.from({ length }, () => below(50));
  return {
    length,
    reads: 0,
    read(start, count) {
      this.reads++;
      return ids.slice(start, start + count);
    },
  };
}

/** A text that can be read without its object. */
const bound = (stream: ReturnType<typeof text>): TokenStream => ({
  length: stream.length,
  read: (start, count) => stream.read(start, count),
});

const stage = (context: number) => distill({ tokens: 1000, context, batch: 1, lr: constant(1e-3) });

Deno.test("measures: the student beside its teacher, at the last stage's context and text", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    const teacher = randomModel(device, [ATTENTION, ATTENTION]);
    const student = randomModel(device, [radRwkv7(), radRwkv7()]);
    const [one, two] = [text(100, 1), text(80, 2)];
    const [first, last] = [bound(one), bound(two)];
    const heldOut = [first, first, last];
    const told: string[] = [];
    const measures = createMeasures({
      teacher: heldEvaluator(() => teacher),
      student: heldEvaluator(() => student),
      stages: [stage(16), stage(16), stage(32)],
      heldOut,
      onProgress: (what) => told.push(what),
    });
    const expected = async (stream: TokenStream, context: number) => {
      const [a, b] = [
        await evaluate(student, stream, context),
        await evaluate(teacher, stream, context),
      ];
      return {
        loss: a.loss,
        perplexity: a.perplexity,
        ratio: a.perplexity / b.perplexity,
        context,
      };
    };
    const before = await measures.student(0);
    assertEquals(before, await expected(heldOut[0], 16));
    assertEquals(await measures.student(1), before);
    assertEquals(await measures.student(3), await expected(heldOut[2], 32));
    assert(told.includes("measuring the student") && told.includes("measuring the teacher"));
    // The teacher does not change.
    const reads = one.reads;
    told.length = 0;
    const report = await measures.teacher(2);
    assertEquals(one.reads, reads);
    assertEquals(told, []);
    assertEquals([report?.context, report?.tokens], [16, 99]);
    assertAlmostEquals(report!.perplexity, before.perplexity / before.ratio!, 1e-9);
  });
});

Deno.test("measures: without a teacher, without stages, and without numbers", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    const student = randomModel(device, [ATTENTION]);
    const measures = createMeasures({
      student: heldEvaluator(() => student),
      stages: [],
      heldOut: [bound(text(40, 1))],
      onProgress: () => {},
    });
    const { ratio, context } = await measures.student(0);
    assertEquals([ratio, context, await measures.teacher(0)], [undefined, 256, undefined]);
    device.write(student.bindings["model.norm.weight"], new Float32Array(24).fill(NaN));
    await assertRejects(
      () => measures.student(0),
      NotFiniteError,
      "the student's held-out loss before the first stage is NaN. Lower the learning rate",
    );
  });
});

Deno.test("inference: a prompt is from one document", () => {
  const stream = (ids: number[]): TokenStream => ({
    length: ids.length,
    read: (start, count) => Int32Array.from(ids.slice(start, start + count)),
  });
  const count = (from: number, n: number) => Array.from({ length: n }, (_, i) => from + i);
  const tokenizer = { eosId: 0 } as Tokenizer;
  const two = [...count(1, 5), 0, ...count(10, 30)];
  assertEquals([...promptOf(stream(two), tokenizer)], count(10, 16));
  assertEquals([...promptOf(stream(two), {} as Tokenizer)], two.slice(0, 16));
  assertEquals([...promptOf(stream(count(1, 40)), tokenizer)], count(1, 16));
  assertEquals([...promptOf(stream([1, 2, 0, 3]), tokenizer)], [1, 2, 0, 3]);
});

Deno.test("inference: state, speed and a sample that is the same in every run", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    const model = randomModel(device, [radRwkv7(), ATTENTION]);
    const tokenizer = { decode: (ids: Iterable<number>) => [...ids].join(" ") } as Tokenizer;
    const prompt = Int32Array.of(1, 2, 3);
    const first = await measureInference(model, tokenizer, prompt);
    const again = await measureInference(model, tokenizer, prompt);
    assertEquals(again.sample, first.sample);
    assertEquals(first.sample.split(" ").length, 112);
    // 4 heads of 8 × 8; keys and values of 2 heads of 8 a token.
    assertEquals(first.stateBytesAt1K, 4 * (4 * 64 + 2 * 2 * 8 * 1024));
    assertEquals(first.stateBytesAt32K, 4 * (4 * 64 + 2 * 2 * 8 * 32768));
    assert(first.tokensPerSecond > 0);
  });
});
