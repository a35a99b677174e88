import { assert, assertEquals } from "@std/assert";
import type { Samples } from "../../dsl/sources.ts";
import type { Tokenizer } from "../../formats/tokenizer/tokenizer.ts";
import { greedy } from "../../infer/sampler.ts";
import { type LoadedModel, openSession } from "../../infer/session.ts";
import { writeSamples } from "../../train/samples.ts";
import { counted } from "../support/counted_device.ts";
import { withCpu } from "../support/devices.ts";
import { ATTENTION, radRwkv7, randomModel } from "../support/model.ts";

const SOURCE: Samples = {
  kind: "samples",
  teacher: { kind: "checkpoint", location: "x" },
  tokens: 100,
  temperature: 1,
  topP: 1,
  seed: 0,
  prompt: "",
};

/** A tokenizer whose text is numbers. */
const tokenizer = (ids: { bosId?: number; eosId?: number }) =>
  ({
    ...ids,
    encode: (text: string) => Int32Array.from(text.split(" ").filter(Boolean), Number),
  }) as Tokenizer;

async function texts(
  model: LoadedModel,
  ids: { bosId?: number; eosId?: number },
  changes: Partial<Samples> = {},
  longest = 12,
): Promise<number[][]> {
  const found: number[][] = [];
  const told: number[] = [];
  const source = { ...SOURCE, ...changes };
  const progress = (done: number, total: number) => {
    assertEquals(total, source.tokens);
    told.push(done);
  };
  for await (const text of writeSamples(model, tokenizer(ids), source, longest, progress)) {
    found.push([...text]);
  }
  assertEquals(told.at(-1), source.tokens);
  return found;
}

/** What a model writes greedily. */
async function written(model: LoadedModel, start: number, count: number): Promise<number[]> {
  const session = openSession(model);
  const ids = [start];
  while (ids.length < count) ids.push(greedy(await session.advance([[ids[ids.length - 1]]])));
  session.free();
  return ids;
}

async function withModel(run: (model: LoadedModel) => Promise<void>): Promise<void> {
  await withCpu({ threads: 1 }, async (device) => {
    const own = counted(device);
    const model = randomModel(own, [radRwkv7(), ATTENTION]);
    await run(model);
    model.free();
    assertEquals(own.held(), { memory: 0, programs: 0 });
  });
}

Deno.test("samples: exactly so many tokens, in texts of the longest length", async () => {
  await withModel(async (model) => {
    const found = await texts(model, { bosId: 3 });
    assertEquals(found.flat().length, 100);
    assertEquals(found.map(({ length }) => length), [...Array(8).fill(12), 4]);
    assert(found.every(([first]) => first === 3));
    assertEquals(new Set(found.map(String)).size, 9);
    assert(found.flat().every((id) => id >= 0 && id < 50));
  });
});

Deno.test("samples: more texts than are written at a time", async () => {
  await withModel(async (model) => {
    const found = await texts(model, { bosId: 3 }, { tokens: 5 * 256 + 7 }, 5);
    assertEquals(found.length, 258);
    assert(new Set(found.map(String)).size > 240);
  });
});

Deno.test("samples: greedy texts are what decoding writes; a text ends where the model ends it", async () => {
  await withModel(async (model) => {
    const whole = await written(model, 3, 12);
    const [first] = await texts(model, { bosId: 3 }, { temperature: 0 });
    assertEquals(first, whole);
    const eosId = whole[4];
    const end = whole.indexOf(eosId, 1);
    const [ended] = await texts(model, { bosId: 3, eosId }, { temperature: 0 });
    assertEquals(ended, whole.slice(0, end + 1));
  });
});

Deno.test("samples: begin with the prompt, what begins texts, what ends them, or the first id", async () => {
  await withModel(async (model) => {
    const start = async (ids: { bosId?: number; eosId?: number }, prompt = "") =>
      (await texts(model, ids, { prompt }))[0].slice(0, 2);
    assertEquals(await start({ bosId: 3, eosId: 4 }, "8 9"), [8, 9]);
    assertEquals((await start({ bosId: 3, eosId: 4 }))[0], 3);
    assertEquals((await start({ eosId: 4 }))[0], 4);
    assertEquals((await start({}))[0], 0);
  });
});

Deno.test("samples: the seed decides, and nothing else", async () => {
  await withModel(async (model) => {
    const one = await texts(model, { bosId: 3 });
    assertEquals(await texts(model, { bosId: 3 }), one);
    assert(String(await texts(model, { bosId: 3 }, { seed: 1 })) !== String(one));
  });
});
