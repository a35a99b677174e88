import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import type { Device } from "../../../devices/device.ts";
import { extend } from "../../../dsl/transformations.ts";
import { radRwkv6, radRwkv7 } from "../../../dsl/mixers.ts";
import type { Recipe } from "../../../dsl/recipe.ts";
import { constant } from "../../../dsl/schedules.ts";
import { layers, only } from "../../../dsl/selectors.ts";
import { align, type AlignOptions, distill } from "../../../dsl/stages.ts";
import { teacher } from "../../../dsl/teachers.ts";
import { match } from "../../../dsl/trains.ts";
import { runFolderOf } from "../../../train/conversion.ts";
import { NotFiniteError } from "../../../train/finite.ts";
import type { RunOptions } from "../../../train/run.ts";
import {
  digestOf,
  go,
  type MinuteOptions,
  minuteRecipe,
  namesIn,
  run,
  steps,
  stopAt,
  weightsOf,
  withFolder,
  writeTeacher,
} from "../support.ts";

const STEPS = 5;
const RATE = 1e-3;
/** Bytes of streams that are there for one step only. */
const ONE_STEP = 1;

const V6 = [layers.all.to(radRwkv6())] as const;
const V7 = [layers.all.to(radRwkv7())] as const;
/** All but what layer 0's values are made of. */
const NOT_FIRST_VALUE = match(
  ...["q_proj", "k_proj", "o_proj", "w?", "a?", "g?", "k_?", "r_k", "ln_x"].map((name) =>
    `model.layers.0.self_attn.${name}*`
  ),
  "model.layers.1.*",
  "model.layers.2.*",
);

/** A recipe in a folder of its own whose teacher has three layers. */
function alignRecipe(
  folder: string,
  surgery: readonly unknown[],
  stages: readonly ReturnType<typeof align>[],
): Recipe {
  Deno.mkdirSync(folder, { recursive: true });
  const recipe = minuteRecipe(folder, {
    surgery: surgery as MinuteOptions["surgery"],
    stages: [...stages],
  });
  writeTeacher(join(folder, "teacher"), { num_hidden_layers: 3 });
  return recipe;
}

/** The same conversion with all layers at once, and one after another. */
async function both(
  folder: string,
  device: Device,
  surgery: readonly unknown[],
  options: AlignOptions,
  more: Partial<RunOptions> = {},
) {
  const one = async (name: string, own: AlignOptions) => {
    const recipe = alignRecipe(join(folder, name), surgery, [align({ ...options, ...own })]);
    const report = await run(device, recipe, more);
    const telemetry = Deno.readTextFileSync(join(recipe.output, "telemetry.jsonl")).trimEnd()
      .split("\n").map((line) => JSON.parse(line));
    return { weights: weightsOf(recipe.output), report, telemetry };
  };
  return { joint: await one("joint", {}), streamed: await one("streamed", { streamed: true }) };
}

/** The tensors in which two checkpoints differ. */
function differing(a: Map<string, Float32Array>, b: Map<string, Float32Array>): string[] {
  assertEquals([...a.keys()].sort(), [...b.keys()].sort());
  return [...a].filter(([name, values]) => values.some((x, i) => !Object.is(x, b.get(name)![i])))
    .map(([name]) => name);
}

const EQUAL: Readonly<Record<string, [readonly unknown[], AlignOptions, Partial<RunOptions>?]>> = {
  "RAD-RWKV6": [V6, { clip: 0 }],
  "RAD-RWKV6, a clip that is not reached": [V6, { clip: 100 }],
  "RAD-RWKV6, windows of one step": [V6, { clip: 0 }, { scratchBytes: ONE_STEP }],
  "RAD-RWKV6, parts of a batch": [V6, { clip: 0, batch: 4, accumulate: 2, tokens: 5 * 64 }],
  "RAD-RWKV6, some tensors": [V6, { clip: 0, trains: match("*.1.*w2", "*.2.*q_proj*") }],
  "one layer, clipped": [[only(1).to(radRwkv6())], { clip: 1e-3 }],
  "RAD-RWKV7 after attention": [[layers.except(0).to(radRwkv7())], { clip: 0 }],
  "RAD-RWKV7, layer 0 without its values": [V7, { clip: 0, trains: NOT_FIRST_VALUE }],
  "RAD-RWKV7, the last layer keeps attention": [
    [layers.except(-1).to(radRwkv7())],
    { clip: 0, trains: NOT_FIRST_VALUE },
    { scratchBytes: ONE_STEP },
  ],
};

for (const [name, [surgery, options, more]] of Object.entries(EQUAL)) {
  Deno.test(`streamed: the bits of the joint form, ${name}`, async () => {
    await withFolder(async (folder, device) => {
      const stage = steps(STEPS, { ...options });
      const { joint, streamed } = await both(folder, device, surgery, stage, more);
      assertEquals(differing(streamed.weights, joint.weights), []);
      const [expected, found] = [joint, streamed].map(({ report }) => report);
      const measured = ({ loss, perplexity, ratio }: typeof expected.untrained) => [
        loss,
        perplexity,
        ratio,
      ];
      assertEquals(found.stages.map(measured), expected.stages.map(measured));
      assertEquals(measured(found.untrained), measured(expected.untrained));
      assertEquals(streamed.telemetry.length, STEPS);
      streamed.telemetry.forEach((line, i) => {
        const { step, loss, gradientNorm, learningRate, tokens } = joint.telemetry[i];
        assertEquals([line.step, line.learningRate, line.tokens], [step, learningRate, tokens]);
        // Sums over layers in another order.
        assert(Math.abs(line.loss / loss - 1) < 1e-6, `loss ${line.loss}, ${loss}`);
        assert(Math.abs(line.gradientNorm / gradientNorm - 1) < 1e-5);
      });
    });
  });
}

/** How far AdamW moves a weight in some steps at most, whatever the gradients (docs/stages.md). */
function farthest(count: number, rate: number, [beta1, beta2] = [0.9, 0.95]): number {
  let sum = 0;
  let moved = 0;
  for (let t = 1; t <= count; t++) {
    sum += (beta1 ** 2 / beta2) ** (t - 1);
    const ratio = (1 - beta1) / Math.sqrt(1 - beta2) * Math.sqrt(sum) *
      Math.sqrt(1 - beta2 ** t) / (1 - beta1 ** t);
    moved += rate * ratio;
  }
  return moved;
}

Deno.test("streamed: RAD-RWKV7 in every layer is within twice what AdamW can move a weight", async () => {
  await withFolder(async (folder, device) => {
    const once = await both(join(folder, "once"), device, V7, steps(1, { clip: 0, warmup: 0 }));
    // What is passed on is the same; of the gradients only that which comes back is missing. Another
    // sum of a gradient can be rounded differently, for the joint form's loops hold other values too.
    const moved = differing(once.streamed.weights, once.joint.weights).filter((name) => {
      const [a, b] = [once.streamed, once.joint].map(({ weights }) => weights.get(name)!);
      return a.some((x, i) => Math.abs(x - b[i]) > 1e-3 * RATE);
    });
    assertEquals(
      moved,
      ["model.layers.0.self_attn.v_proj.bias", "model.layers.0.self_attn.v_proj.weight"],
    );
    const count = 20;
    const stage = steps(count, { clip: 0, warmup: 0 });
    const { joint, streamed } = await both(join(folder, "long"), device, V7, stage);
    const bound = 2 * farthest(count, RATE) * (1 + 1e-5);
    let most = 0;
    for (const [name, values] of joint.weights) {
      const other = streamed.weights.get(name)!;
      for (const [i, x] of values.entries()) most = Math.max(most, Math.abs(x - other[i]));
    }
    assert(most > 0 && most <= bound, `${most}, at most ${bound}`);
    // And it learns the same.
    const [a, b] = [joint, streamed].map(({ report }) => report.stages[0].trainingLoss!);
    assert(Math.abs(a / b - 1) < 0.01, `${a}, ${b}`);
  });
});

Deno.test("streamed: a teacher that was converted itself", async () => {
  await withFolder(async (folder, device) => {
    const first = alignRecipe(join(folder, "first"), V7, [align(steps(1))]);
    await run(device, first);
    const found = [];
    for (const own of [{}, { streamed: true as const }]) {
      const name = `second-${found.length}`;
      const stage = align({ ...steps(3, { clip: 0 }), ...own });
      const recipe = alignRecipe(
        join(folder, name),
        [only(1).to(radRwkv7({ reinitialise: true }))],
        [stage],
      );
      await run(device, extend(recipe, { teacher: teacher(first.output) }));
      found.push(weightsOf(recipe.output));
    }
    assertEquals(differing(found[0], found[1]), []);
  });
});

Deno.test("streamed: a stage among others leaves them a student to go on with", async () => {
  await withFolder(async (folder, device) => {
    const digests = [];
    for (const own of [{}, { streamed: true as const }]) {
      Deno.mkdirSync(join(folder, `${digests.length}`));
      const recipe = minuteRecipe(join(folder, `${digests.length}`), {
        surgery: [layers.all.to(radRwkv6())],
        stages: [align({ ...steps(4, { clip: 0 }), ...own }), distill(steps(3))],
      });
      const report = await run(device, recipe);
      assert(report.student.sample !== undefined);
      digests.push(digestOf(recipe));
    }
    assertEquals(digests[0], digests[1]);
  });
});

Deno.test("streamed: stopped anywhere and resumed, with other windows, the bits are the same", async () => {
  await withFolder(async (folder, device) => {
    const stages = [3, 4].map((count) => align({ ...steps(count), streamed: true }));
    const recipe = alignRecipe(folder, V7, stages);
    const telemetry = () =>
      Deno.readTextFileSync(join(recipe.output, "telemetry.jsonl")).trimEnd().split("\n")
        .map((line) => JSON.parse(line))
        .map(({ stageIndex, step, loss, gradientNorm }) => [stageIndex, step, loss, gradientNorm]);
    await go(device, recipe, { resume: false });
    const [expected, lines] = [digestOf(recipe), telemetry()];
    assertEquals(lines.map(([stage, step]) => [stage, step]), [
      ...[1, 2, 3].map((step) => [0, step]),
      ...[1, 2, 3, 4].map((step) => [1, step]),
    ]);
    let calls = 0;
    let outcome: Awaited<ReturnType<typeof go>>;
    do {
      outcome = await go(device, recipe, {
        resume: calls > 0,
        // Some layer steps a call; every other call has room for two steps of streams.
        listen: stopAt(2 + calls % 3),
        scratchBytes: calls % 2 === 0 ? ONE_STEP : 2 * 3 * 32 * 16 * 4,
        checkpointSeconds: calls % 4 === 0 ? 0 : Infinity,
      });
      calls++;
      assert(calls < 50);
    } while (outcome.kind !== "done");
    assert(calls > 5, `${calls} calls`);
    assertEquals(digestOf(recipe), expected);
    assertEquals(telemetry(), lines);
    assertEquals(namesIn(folder), ["out", "teacher", "text.txt"]);
  });
});

Deno.test("streamed: after a failure the layers go on from their files", async () => {
  await withFolder(async (folder, device) => {
    const recipe = alignRecipe(folder, V7, [align({ ...steps(2), streamed: true })]);
    await go(device, recipe, { resume: false });
    const expected = digestOf(recipe);
    // The power goes between any two of what it does.
    for (let at = 0, failed = true; failed; at++) {
      let told = 0;
      const shock = () => {
        if (told++ === at) throw new Error("the power is gone");
      };
      failed = false;
      const events = {
        note: () => {},
        measured: () => {},
        kept: () => {},
        step: shock,
        progress: (what: string) => what.startsWith("align") && shock(),
      };
      const options = { events, scratchBytes: ONE_STEP, checkpointSeconds: 0 };
      try {
        await go(device, recipe, { ...options, resume: false });
      } catch {
        failed = true;
        await go(device, recipe, { scratchBytes: ONE_STEP });
      }
      assertEquals(digestOf(recipe), expected);
    }
  });
});

Deno.test("streamed: what is not a number ends the run, with layer and step", async () => {
  await withFolder(async (folder, device) => {
    const astray = { ...steps(4), warmup: 0, lr: constant(1), weightDecay: 1e25 };
    const recipe = alignRecipe(folder, V6, [align({ ...astray, streamed: true })]);
    const { message } = await assertRejects(
      () => go(device, recipe, { resume: false }),
      NotFiniteError,
    );
    const expected = /^stage align, layer 0, step 2 of 4: the loss is (NaN|Infinity); .* finite/;
    assert(expected.test(message), message);
    const left = namesIn(join(runFolderOf(recipe, recipe.output), "layers-0"));
    assertEquals(left, ["even.f32", "odd.f32", "window.json"]);
  });
});

Deno.test("streamed: a model that stays on disk has no sample and no speed", async () => {
  await withFolder(async (folder, device) => {
    const recipe = alignRecipe(folder, V7, [align({ ...steps(2), streamed: true })]);
    const { student, teacher } = await run(device, recipe, { dtype: "bfloat16" });
    assertEquals([student.sample, teacher!.tokensPerSecond], [undefined, undefined]);
    assert(student.parameters > 0 && student.perplexity > 1 && teacher!.perplexity > 1);
  });
});
