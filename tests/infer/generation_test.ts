import { assert, assertEquals, assertRejects } from "@std/assert";
import { generate, type GenerateOptions } from "../../infer/generation.ts";
import type { LoadedModel } from "../../infer/session.ts";
import { withCpu } from "../support/devices.ts";
import { ATTENTION, radRwkv7, randomModel } from "../support/model.ts";

const GREEDY: GenerateOptions = { tokens: 12, temperature: 0, topP: 1, seed: 1 };

async function written(
  model: LoadedModel,
  options: Partial<GenerateOptions> = {},
  prompt: readonly number[] = [3, 1, 4],
): Promise<number[]> {
  return await Array.fromAsync(generate(model, prompt, { ...GREEDY, ...options }));
}

Deno.test("generate: as many tokens as asked for, ended by a stop id", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const model = randomModel(device, [radRwkv7(), ATTENTION]);
    const all = await written(model);
    assertEquals(all.length, 12);
    assertEquals(await written(model, { tokens: 5 }), all.slice(0, 5));
    const stop = all[7];
    const expected = all.slice(0, all.indexOf(stop));
    assertEquals(await written(model, { stop: [49, stop] }), expected);
    model.free();
  });
});

Deno.test("generate: what was written may be the prompt of what comes next", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const model = randomModel(device, [radRwkv7(), radRwkv7()]);
    const all = await written(model);
    assertEquals(await written(model, { tokens: 4 }, [3, 1, 4, ...all.slice(0, 8)]), all.slice(8));
    model.free();
  });
});

Deno.test("generate: a seed gives the same text, another seed another", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const model = randomModel(device, [radRwkv7()]);
    const drawn = (seed: number) => written(model, { temperature: 1, topP: 0.95, seed });
    assertEquals(await drawn(1), await drawn(1));
    assert((await drawn(1)).join() !== (await drawn(2)).join());
    model.free();
  });
});

Deno.test("generate: a reader that stops early leaves nothing behind", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    const model = randomModel(device, [radRwkv7()]);
    const first: number[] = [];
    for await (const id of generate(model, [3, 1, 4], GREEDY)) {
      first.push(id);
      if (first.length === 3) break;
    }
    assertEquals(first, (await written(model)).slice(0, 3));
    model.free();
  });
});

Deno.test("generate: a prompt without a token is an error", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    const model = randomModel(device, [radRwkv7()]);
    await assertRejects(() => written(model, {}, []), Error, "a prompt of at least one token");
    model.free();
  });
});
