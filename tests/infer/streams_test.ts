import { assert, assertEquals, assertRejects } from "@std/assert";
import { generate, type GenerateOptions } from "../../infer/generation.ts";
import { inspectCheckpoint, loadCheckpoint } from "../../infer/loading.ts";
import { openSession } from "../../infer/session.ts";
import { generateStreams } from "../../infer/streams.ts";
import { counted } from "../support/counted_device.ts";
import { withCpu } from "../support/devices.ts";
import { ATTENTION, radRwkv6, radRwkv7, randomModel } from "../support/model.ts";
import { sharedPath } from "../support/shared.ts";

const prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11], [12, 13], [3, 1, 4, 1, 5], [2, 7, 1, 8]];
const greedy: GenerateOptions = { tokens: 20, temperature: 0, topP: 1, seed: 0 };

async function written(
  model: Parameters<typeof generateStreams>[0],
  options: GenerateOptions,
  streams: number,
): Promise<number[][]> {
  const texts: number[][] = prompts.map(() => []);
  const ended: number[] = [];
  for await (const { prompt, id } of generateStreams(model, prompts, options, streams)) {
    assert(!ended.includes(prompt));
    if (id === undefined) ended.push(prompt);
    else texts[prompt].push(id);
  }
  assertEquals(ended.toSorted(), prompts.map((_, i) => i));
  return texts;
}

Deno.test("streams: every text is what it is alone, however many are written at a time", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const own = counted(device);
    for (const mixers of [[ATTENTION, radRwkv7()], [radRwkv6(), radRwkv7(), radRwkv6()]]) {
      const model = randomModel(own, mixers);
      // Sampled, and with ids that end a text sooner or later.
      for (const options of [greedy, { ...greedy, temperature: 0.8, seed: 4, stop: [7, 30] }]) {
        const alone = await Promise.all(prompts.map(async (prompt, i) => {
          const seed = options.seed + i;
          return await Array.fromAsync(generate(model, prompt, { ...options, seed }));
        }));
        for (const streams of [1, 3, 6, 64]) {
          assertEquals(await written(model, options, streams), alone, `${streams} streams`);
        }
      }
      model.free();
      assertEquals(own.held(), { memory: 0, programs: 0 });
    }
  });
});

Deno.test("streams: a real model's logits stay within rounding of those alone", async () => {
  const stories = sharedPath("models", "stories260k");
  await withCpu({ threads: 2 }, async (device) => {
    // Beside q8_0 activations of few rows may be whole numbers (kernels/matvec/activations.ts).
    for (const [format, bound] of [["f32", 2e-5], ["bf16", 2e-5], ["q8_0", 0.04]] as const) {
      const model = loadCheckpoint(device, inspectCheckpoint(stories), format);
      const { vocabSize } = model.spec.config;
      const texts = Array.from(
        { length: 9 },
        (_, t) => Array.from({ length: 12 + t }, (_, i) => (i * i * 7 + t * 31) % vocabSize),
      );
      // Each begins a step after the one before, in the place that it keeps.
      const together = openSession(model, texts.length);
      const alone = openSession(model);
      for (let step = 0; step < 20; step++) {
        const ids = texts.map((text, t) => step < t ? undefined : [text[step - t] ?? 5]);
        if (step < texts.length) together.reset(step);
        const logits = await together.advance(ids);
        const t = step % texts.length;
        if (step < t) continue;
        alone.reset(0);
        const text = Array.from({ length: step - t + 1 }, (_, i) => texts[t][i] ?? 5);
        const expected = await alone.advance([text]);
        const own = logits.subarray(t * vocabSize, (t + 1) * vocabSize);
        const largest = expected.reduce((top, x) => Math.max(top, Math.abs(x)), 0);
        const worst = expected.reduce((top, x, i) => Math.max(top, Math.abs(x - own[i])), 0);
        assert(worst <= bound * largest, `${format}, step ${step}: ${worst / largest}`);
      }
      together.free();
      alone.free();
      model.free();
    }
  });
});

Deno.test("streams: a state goes on elsewhere, in caches of other sizes", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const window = { kind: "attention", window: 270 } as const;
    const model = randomModel(device, [ATTENTION, radRwkv7(), window]);
    const text = Array.from({ length: 300 }, (_, i) => (i * 17) % 50);
    const [from, to] = [openSession(model), openSession(model, 3)];
    for (const length of [5, 256, 300]) {
      from.reset(0);
      await from.advance([text.slice(0, length)]);
      await to.restore(1, await from.save(0));
      const [one, three] = [await from.advance([[9]]), await to.advance([undefined, [9], [3]])];
      const worst = one.reduce((top, x, i) => Math.max(top, Math.abs(x - three[50 + i])), 0);
      assert(worst < 1e-5, `${length}: ${worst}`);
    }
    // And back from large caches into small ones.
    const small = openSession(model);
    await small.restore(0, await to.save(2));
    const [large, moved] = [await to.advance([undefined, [1], [4]]), await small.advance([[4]])];
    const worst = moved.reduce((top, x, i) => Math.max(top, Math.abs(x - large[100 + i])), 0);
    assert(worst < 1e-5, `${worst}`);
    [from, to, small].forEach((session) => session.free());
    model.free();
  });
});

Deno.test("streams: a prompt of nothing is an error", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    const model = randomModel(device, [radRwkv7()]);
    const run = () => Array.fromAsync(generateStreams(model, [[1], []], greedy, 2));
    await assertRejects(run, Error, "expected prompts of at least one token each");
    model.free();
  });
});
