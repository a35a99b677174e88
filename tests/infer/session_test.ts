/** Recurrent decoding gives what the parallel form gives, however the text comes in. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { forwardLogits } from "../../infer/logits.ts";
import { greedy } from "../../infer/sampler.ts";
import { type LoadedModel, openSession } from "../../infer/session.ts";
import type { MixerSpec } from "../../models/config.ts";
import { assertClose } from "../support/compare.ts";
import { withCpu } from "../support/devices.ts";
import { ATTENTION, radRwkv6, radRwkv7, randomModel } from "../support/model.ts";
import { random } from "../support/random.ts";

/**
 * The two forms sum in other orders: roundings of 6e-8 in each of some ten operations a layer, made
 * up to ten times larger by norms over small values.
 */
const TOLERANCE = 2e-5;

const VOCABULARY = 50;

function ids(count: number, seed = 1): Int32Array {
  const source = random(seed);
  return Int32Array.from({ length: count }, () => source.below(VOCABULARY));
}

/** Logits of every token, by the parallel form. */
async function parallel(model: LoadedModel, text: Int32Array): Promise<Float32Array[]> {
  const rows: Float32Array[] = [];
  for await (const block of forwardLogits(model, text, text.length)) {
    for (let at = 0; at < block.length; at += VOCABULARY) {
      rows.push(block.slice(at, at + VOCABULARY));
    }
  }
  return rows;
}

/** Logits after a text, taken in parts of these lengths. */
async function taken(
  model: LoadedModel,
  text: Int32Array,
  parts: readonly number[],
): Promise<Float32Array[]> {
  const session = openSession(model);
  try {
    const rows: Float32Array[] = [];
    let at = 0;
    for (const part of parts) {
      rows.push(await session.advance([text.subarray(at, at + part)]));
      at += part;
      assertEquals(session.position, at);
    }
    return rows;
  } finally {
    session.free();
  }
}

/** Fails unless a text taken in parts gives the parallel form's logits after each part. */
async function assertSame(
  model: LoadedModel,
  text: Int32Array,
  expected: readonly Float32Array[],
  parts: readonly number[],
  name: string,
): Promise<void> {
  const rows = await taken(model, text, parts);
  let at = 0;
  parts.forEach((part, i) => {
    at += part;
    assertClose(`${name}, after ${at} tokens`, rows[i], expected[at - 1], TOLERANCE);
  });
}

const ones = (count: number) => new Array<number>(count).fill(1);

/** Every combination of flags. */
const FLAGS = [true, false].flatMap((rope) =>
  [true, false].flatMap((balanceState) =>
    [true, false].flatMap((groupNorm) =>
      ([0, 1, 2] as const).map((gate) => ({ rope, balanceState, groupNorm, gate }))
    )
  )
);

const MODELS: readonly (readonly [name: string, mixers: readonly MixerSpec[]])[] = [
  ["attention", [ATTENTION, ATTENTION]],
  ...FLAGS.map((flags) =>
    [JSON.stringify(flags), [radRwkv7(flags), radRwkv7(flags)]] as [string, MixerSpec[]]
  ),
  ...FLAGS.flatMap((flags) =>
    [true, false].map((tokenShift) => {
      const mixer = radRwkv6({ ...flags, tokenShift });
      return [`RAD-RWKV6 ${JSON.stringify(mixer)}`, [mixer, mixer]] as [string, MixerSpec[]];
    })
  ),
  ["RAD-RWKV6 and attention", [radRwkv6(), ATTENTION, radRwkv6({ rope: true })]],
  ["attention last", [radRwkv7(), radRwkv7({ gate: 1 }), ATTENTION]],
  ["attention first", [ATTENTION, radRwkv7({ groupNorm: false }), radRwkv7()]],
  ["attention between", [radRwkv7({ rope: false }), ATTENTION, radRwkv7({ balanceState: true })]],
];

Deno.test("decoding: token by token it is the parallel form, for every mixer and flag", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const text = ids(20);
    for (const [name, mixers] of MODELS) {
      const model = randomModel(device, mixers);
      const expected = await parallel(model, text);
      await assertSame(model, text, expected, ones(text.length), name);
      model.free();
    }
  });
});

Deno.test("decoding: other sizes of heads, tied heads, biases", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const text = ids(18);
    const mixers = [radRwkv7(), ATTENTION];
    for (
      const changes of [
        { attentionHeads: 2, keyValueHeads: 2, headDim: 12 },
        { attentionHeads: 3, keyValueHeads: 1, headDim: 64 },
        { attentionHeads: 1, keyValueHeads: 1, headDim: 128 },
        { tieWordEmbeddings: true, attentionBias: false, attentionOutputBias: true, mlpBias: true },
      ]
    ) {
      const model = randomModel(device, mixers, changes);
      const expected = await parallel(model, text);
      await assertSame(model, text, expected, ones(text.length), JSON.stringify(changes));
      await assertSame(model, text, expected, [17, 1], JSON.stringify(changes));
      model.free();
    }
  });
});

Deno.test("prefill: chunks of 128, 16 and 1, and decoding after them", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const text = ids(301);
    for (const mixer of [radRwkv6(), radRwkv7()]) {
      const model = randomModel(device, [mixer, ATTENTION]);
      const expected = await parallel(model, text);
      for (const count of [1, 15, 16, 17, 127, 128, 129, 300]) {
        await assertSame(model, text, expected, [count, 1], `${mixer.kind}, ${count} at once`);
      }
      await assertSame(model, text, expected, [7, 128, 3, 16, 100, 40], "in parts");
      model.free();
    }
  });
});

Deno.test("caches: they grow past 256 and 512 tokens, and keep what they hold", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const text = ids(530);
    for (const mixers of [[ATTENTION], [radRwkv7(), ATTENTION]]) {
      const model = randomModel(device, mixers);
      const expected = await parallel(model, text);
      const name = mixers.map(({ kind }) => kind).join();
      await assertSame(model, text, expected, [250, ...ones(12), 249, ...ones(6)], name);
      await assertSame(model, text, expected, [530], name);
      model.free();
    }
  });
});

Deno.test("caches of windows: they grow up to the window, then turn round", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const text = ids(530);
    for (const [window, other] of [[5, radRwkv7()], [100, radRwkv7()], [300, ATTENTION]] as const) {
      const model = randomModel(device, [{ kind: "attention", window }, other]);
      const expected = await parallel(model, text);
      for (const parts of [[250, ...ones(12), 249, ...ones(6)], [90, 16, 1, 255, 1]]) {
        await assertSame(model, text, expected, parts, `window ${window}`);
      }
      model.free();
    }
  });
});

Deno.test("decoding: every mixer with normed queries and keys", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const text = ids(20);
    const kinds: readonly MixerSpec[] = [ATTENTION, radRwkv6(), radRwkv7()];
    for (const mixers of [...kinds.map((mixer) => [mixer]), kinds]) {
      const model = randomModel(device, mixers, { attentionQkNorm: true, attentionBias: false });
      const name = mixers.map(({ kind }) => kind).join();
      await assertSame(model, text, await parallel(model, text), ones(text.length), name);
      model.free();
    }
  });
});

Deno.test("sessions: texts side by side do not know of one another", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const model = randomModel(device, [radRwkv7(), ATTENTION, radRwkv6()]);
    const texts = [1, 2, 3].map((seed) => ids(40, seed));
    const session = openSession(model, texts.length);
    const expected = await Promise.all(texts.map((text) => parallel(model, text)));
    let at = 0;
    for (const part of [20, 1, 18, 1]) {
      const logits = await session.advance(texts.map((text) => text.subarray(at, at + part)));
      at += part;
      texts.forEach((_, b) => {
        const own = logits.subarray(b * VOCABULARY, (b + 1) * VOCABULARY);
        assertClose(`text ${b} after ${at}`, own, expected[b][at - 1], TOLERANCE);
      });
    }
    session.free();
    model.free();
  });
});

Deno.test("sessions: two of one model at a time", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const model = randomModel(device, [radRwkv7(), ATTENTION]);
    const [a, b] = [ids(10, 1), ids(10, 2)];
    const [wantedA, wantedB] = [await parallel(model, a), await parallel(model, b)];
    const [first, second] = [openSession(model), openSession(model)];
    for (let i = 0; i < 10; i++) {
      assertClose(`a ${i}`, await first.advance([a.subarray(i, i + 1)]), wantedA[i], TOLERANCE);
      assertClose(`b ${i}`, await second.advance([b.subarray(i, i + 1)]), wantedB[i], TOLERANCE);
    }
    first.free();
    second.free();
    model.free();
  });
});

Deno.test("sessions: greedy ids are those of the largest logits, at every length of a chunk", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const model = randomModel(device, [radRwkv7(), ATTENTION]);
    const [one, other] = [openSession(model, 2), openSession(model, 2)];
    const { vocabSize } = model.spec.config;
    for (const count of [1, 130, 17, 1]) {
      const texts = [ids(count), ids(count).map((id) => (id + 3) % vocabSize)];
      const logits = await one.advance(texts);
      const expected = [0, 1].map((b) =>
        greedy(logits.subarray(b * vocabSize, (b + 1) * vocabSize))
      );
      assertEquals([...await other.advanceGreedily(texts)], expected);
    }
    const logits = await one.advance([undefined, [5]]);
    const [, resumed] = await other.advanceGreedily([undefined, [5]]);
    assertEquals(resumed, greedy(logits.subarray(vocabSize)));
    [one, other].forEach((session) => session.free());
    model.free();
  });
});

Deno.test("sessions: what they give back was all that they took", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    const model = randomModel(device, [radRwkv7(), ATTENTION]);
    const use = async () => {
      const session = openSession(model, 2);
      await session.advance([ids(270), ids(270)]);
      session.free();
      return device.allocate(64);
    };
    // After the first one arena and scratch have their sizes.
    const probe = await use();
    device.free(probe);
    const address = (memory: unknown) => (memory as { address: number }).address;
    const again = [await use()];
    device.free(again[0]);
    again.push(await use());
    assertEquals(address(again[1]), address(again[0]));
    model.free();
  });
});

Deno.test("sessions: ids that are none, and texts of different lengths, are errors", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    const model = randomModel(device, [radRwkv7()]);
    const session = openSession(model, 2);
    for (const bad of [-1, VOCABULARY, NaN]) {
      await assertRejects(
        () => session.advance([[0], [bad]]),
        RangeError,
        `session: id ${bad}, expected 0 … 49`,
      );
    }
    const lengths: readonly (readonly number[][])[] = [[[1]], [[1], [1, 2]], [[], []]];
    for (const texts of lengths) {
      const { message } = await assertRejects(() => session.advance(texts), Error);
      assert(message.includes("expected 2 texts of one length"), message);
    }
    assertEquals(session.position, 0, "nothing was taken");
    session.free();
    model.free();
  });
});
