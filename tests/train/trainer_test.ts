import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import type { Device } from "../../devices/device.ts";
import { createStore, layoutOf, type Store } from "../../devices/store.ts";
import { constant } from "../../dsl/schedules.ts";
import { align, distill, finetune, type Stage } from "../../dsl/stages.ts";
import { match, type Trains } from "../../dsl/trains.ts";
import type { ModelSpec } from "../../models/config.ts";
import { modelParameters } from "../../models/decoder.ts";
import { stageProblems, trainedParameters } from "../../train/stage_graph.ts";
import { createTrainer, type TokenBatch, type Trainer } from "../../train/trainer.ts";
import { assertClose } from "../support/compare.ts";
import { counted } from "../support/counted_device.ts";
import { withCpu } from "../support/devices.ts";
import { ATTENTION, radRwkv7, smallConfig } from "../support/model.ts";
import { random } from "../support/random.ts";

const CONFIG = smallConfig();
const TEACHER: ModelSpec = { config: CONFIG, mixers: [ATTENTION, ATTENTION, ATTENTION] };
/** A hybrid: the middle layer keeps attention. */
const STUDENT: ModelSpec = { config: CONFIG, mixers: [radRwkv7(), ATTENTION, radRwkv7()] };

const OPTIONS = { tokens: 4 * 16, context: 16, batch: 4, lr: constant(1e-3) };
const KINDS = { align, distill, finetune };

/** Values of a parameter, the same for the same name. */
function valuesOf(spec: ModelSpec, seed: number): (name: string) => Float32Array {
  const parameters = new Map(modelParameters(spec).map((p, i) => [p.name, { ...p, i }]));
  return (name) => {
    const { shape, initial, i } = parameters.get(name)!;
    const source = random(1000 * seed + i);
    const norm = initial.kind === "constant" && initial.value === 1;
    const [centre, width] = norm ? [1, 0.2] : [0, 0.3];
    const length = shape.reduce((a, b) => a * b, 1);
    return Float32Array.from({ length }, () => centre + source.uniform(-width, width));
  };
}

function batchOf({ batch, context }: Stage): TokenBatch {
  const { below } = random(9);
  const draw = () => Int32Array.from({ length: batch * context }, () => below(CONFIG.vocabSize));
  return { ids: draw(), targets: draw() };
}

function storeOf(device: Device, spec: ModelSpec, values: (name: string) => Float32Array): Store {
  const store = createStore(device, layoutOf(modelParameters(spec)));
  for (const { name } of store.layout.tensors) store.write(name, values(name));
  return store;
}

/** Runs with a trainer of a stage, and frees everything. */
async function withTrainer<T>(
  device: Device,
  stage: Stage,
  run: (trainer: Trainer) => Promise<T>,
): Promise<T> {
  const store = storeOf(device, TEACHER, valuesOf(TEACHER, 1));
  const trainer = await createTrainer({
    device,
    stage,
    student: STUDENT,
    values: valuesOf(STUDENT, 2),
    teacher: { spec: TEACHER, store },
  });
  try {
    return await run(trainer);
  } finally {
    trainer.free();
    store.free();
  }
}

async function read(store: Store): Promise<Record<string, Float32Array>> {
  const entries = store.layout.tensors.map(async ({ name }) => [name, await store.read(name)]);
  return Object.fromEntries(await Promise.all(entries));
}

/** The loss and gradients of a stage. */
function backward(device: Device, stage: Stage) {
  return withTrainer(device, stage, async (trainer) => ({
    loss: await trainer.backward(batchOf(stage)),
    gradients: await read(trainer.gradients),
    arenaBytes: trainer.arenaBytes,
  }));
}

for (const [name, kind] of Object.entries(KINDS)) {
  Deno.test(`${name}: parts of a batch add up to the gradient of the whole`, async () => {
    await withCpu({ threads: 2 }, async (device) => {
      const whole = await backward(device, kind(OPTIONS));
      assert(whole.loss > 0);
      for (const accumulate of [2, 4]) {
        const parts = await backward(device, kind({ ...OPTIONS, accumulate }));
        // Sums over 64 tokens in another order.
        assertAlmostEquals(parts.loss, whole.loss, 1e-6 * whole.loss);
        for (const [tensor, gradient] of Object.entries(whole.gradients)) {
          assertClose(`${accumulate}: ${tensor}`, parts.gradients[tensor], gradient, 1e-5);
        }
      }
    });
  });

  Deno.test(`${name}: recomputed activations give the same bits in less memory`, async () => {
    await withCpu({ threads: 2 }, async (device) => {
      const kept = await backward(device, kind(OPTIONS));
      const again = await backward(device, kind({ ...OPTIONS, rematerialise: true }));
      assertEquals(again.loss, kept.loss);
      assertEquals(again.gradients, kept.gradients);
      // The layers of stage 1 do not wait for one another anyway.
      if (name === "align") assertEquals(again.arenaBytes, kept.arenaBytes);
      else assert(again.arenaBytes < kept.arenaBytes, `${again.arenaBytes}, ${kept.arenaBytes}`);
    });
  });

  Deno.test(`${name}: a step is a backward pass and an update`, async () => {
    await withCpu({ threads: 1 }, async (device) => {
      const stage = kind(OPTIONS);
      const step = await withTrainer(device, stage, async (trainer) => ({
        ...await trainer.step(batchOf(stage), 0, 1e-3),
        weights: await read(trainer.trained),
      }));
      const parts = await withTrainer(device, stage, async (trainer) => ({
        loss: await trainer.backward(batchOf(stage)),
        gradientNorm: await trainer.update(0, 1e-3),
        weights: await read(trainer.trained),
      }));
      assertEquals(step, parts);
      assert(step.gradientNorm > 0);
    });
  });
}

const MIXER = /^model\.layers\.[02]\.self_attn\./;
const TRAINS: Readonly<Record<string, readonly [Trains, (name: string) => boolean]>> = {
  mixers: ["mixers", (name) => MIXER.test(name)],
  everything: ["everything", () => true],
  "match(…)": [match("*.mlp.*", "model.norm.*"), (name) => /\.mlp\.|^model\.norm\./.test(name)],
};

for (const [name, [trains, isTrained]] of Object.entries(TRAINS)) {
  Deno.test(`trains ${name}: exactly those tensors change`, async () => {
    await withCpu({ threads: 1 }, async (device) => {
      const stage = distill({ ...OPTIONS, trains });
      await withTrainer(device, stage, async (trainer) => {
        const before = { ...await read(trainer.trained), ...await read(trainer.frozen) };
        assertEquals(Object.keys(before).length, modelParameters(STUDENT).length);
        const names = trainer.trained.layout.tensors.map((tensor) => tensor.name);
        const wanted = modelParameters(STUDENT).map((p) => p.name).filter(isTrained);
        assertEquals(names, wanted);
        for (let step = 0; step < 2; step++) await trainer.step(batchOf(stage), step, 1e-2);
        assertEquals(
          await read(trainer.frozen),
          Object.fromEntries(
            Object.entries(before).filter(([tensor]) => !isTrained(tensor)),
          ),
        );
        // Parameters that are stored and not used, by the spec, have no gradient.
        const unused = /\.r_k$|layers\.0\.self_attn\.v[012]$/;
        for (const [tensor, values] of Object.entries(await read(trainer.trained))) {
          const same = values.every((x, i) => x === before[tensor][i]);
          assertEquals(same, unused.test(tensor), tensor);
        }
      });
    });
  });
}

Deno.test("a mixers' own rate is that of converted layers' mixers, in distill and in finetune", async () => {
  const unused = /\.r_k$|layers\.0\.self_attn\.v[012]$/;
  await withCpu({ threads: 1 }, async (device) => {
    for (const kind of [distill, finetune]) {
      const stage = kind({ ...OPTIONS, mixerLr: constant(1e-2) });
      for (const [rate, mixerRate, moves] of [[0, 1e-2, true], [1e-2, 0, false]] as const) {
        await withTrainer(device, stage, async (trainer) => {
          const before = await read(trainer.trained);
          await trainer.step(batchOf(stage), 0, rate, mixerRate);
          for (const [tensor, values] of Object.entries(await read(trainer.trained))) {
            const same = values.every((x, i) => x === before[tensor][i]);
            const moved = MIXER.test(tensor) === moves && !unused.test(tensor);
            assertEquals(same, !moved, `${stage.kind} at ${rate}, ${mixerRate}: ${tensor}`);
          }
        });
      }
    }
  });
});

Deno.test("a rate for mixers that a stage does not train is a problem of the recipe", () => {
  const stage = (...globs: string[]) =>
    distill({ ...OPTIONS, mixerLr: constant(1e-4), trains: match(...globs) });
  const stages = [stage("*.mlp.*"), stage("*.mlp.*", "*.layers.2.*.w0"), stage("*.layers.1.*")];
  const problems = stageProblems({ surgery: [], stages }, STUDENT);
  assertEquals(problems.map(({ path }) => path), ["stages[0].mixerLr", "stages[2].mixerLr"]);
});

Deno.test("align trains nothing outside of converted layers, whatever is asked", () => {
  const names = (trains: Trains) =>
    trainedParameters(align({ ...OPTIONS, trains }), STUDENT).map((p) => p.name);
  assertEquals(names("everything"), names("mixers"));
  assert(names("mixers").every((name) => MIXER.test(name)));
  assertEquals(names(match("*.mlp.*", "*.layers.1.*")), []);
  assertEquals(names(match("*.layers.2.*.w0")), ["model.layers.2.self_attn.w0"]);
});

Deno.test("a trainer gives back all of its memory, also when it cannot be made", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    const stage = distill({ ...OPTIONS, accumulate: 2 });
    const whole = counted(device);
    await withTrainer(whole, stage, (trainer) => trainer.step(batchOf(stage), 0, 1e-3));
    assertEquals(whole.held(), { memory: 0, programs: 0 });
    // First part, further parts, optimizer.
    for (const failAt of [0, 1, 2]) {
      const failing = counted(device, failAt);
      const store = storeOf(failing, TEACHER, valuesOf(TEACHER, 1));
      await assertRejects(
        () =>
          createTrainer({
            device: failing,
            stage,
            student: STUDENT,
            values: valuesOf(STUDENT, 2),
            teacher: { spec: TEACHER, store },
          }),
        Error,
        "fails as it was told to",
      );
      store.free();
      assertEquals(failing.held(), { memory: 0, programs: 0 });
    }
  });
});
