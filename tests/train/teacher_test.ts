import { assert, assertEquals } from "@std/assert";
import { findBlas } from "../../devices/cpu/blas.ts";
import type { Device } from "../../devices/device.ts";
import { align, distill, type Stage } from "../../dsl/stages.ts";
import { evaluate } from "../../infer/evaluation.ts";
import { generate } from "../../infer/generation.ts";
import { inspectCheckpoint, loadCheckpoint } from "../../infer/loading.ts";
import { modelParameters } from "../../models/decoder.ts";
import { initialValues } from "../../models/initial_values.ts";
import { loadTeacher } from "../../train/teacher.ts";
import { createTrainer } from "../../train/trainer.ts";
import { withCpu } from "../support/devices.ts";
import { radRwkv7 } from "../support/model.ts";
import { random } from "../support/random.ts";

/** A teacher whose checkpoint is bf16. */
const CHECKPOINT = inspectCheckpoint("assets/teacher");
const { config } = CHECKPOINT.spec;
const STUDENT = { config, mixers: CHECKPOINT.spec.mixers.map(() => radRwkv7()) };

function tokens(count: number): Int32Array {
  const { below } = random(3);
  return Int32Array.from({ length: count }, () => below(config.vocabSize));
}

/** The loss and every gradient of a batch, with the teacher's matrices in bf16 or in f32. */
async function backward(device: Device, stage: Stage, bf16: boolean) {
  const teacher = (bf16 ? loadTeacher : loadCheckpoint)(device, CHECKPOINT);
  const parameters = new Map(modelParameters(STUDENT).map((p) => [p.name, p]));
  const trainer = await createTrainer({
    device,
    stage,
    student: STUDENT,
    values: (name) => initialValues(parameters.get(name)!, 2),
    teacher,
  });
  const ids = tokens(stage.batch * stage.context);
  const loss = await trainer.backward({ ids, targets: ids });
  const { layout, memory } = trainer.gradients;
  const gradients = new Float32Array(layout.size);
  await device.read(memory, gradients);
  trainer.free();
  const bytes = teacher.store.memory.bytes;
  teacher.free();
  return { loss, gradients, bytes };
}

for (const [blas, memory] of [["none", 0], ["none", 2 ** 33], [findBlas()!, 2 ** 33]] as const) {
  const name = `BLAS ${blas}, ${memory === 0 ? "32" : "64"}-bit addresses`;
  Deno.test(`teacher in bf16: the bits of one in f32, half as large, ${name}`, async () => {
    await withCpu({ threads: 2, blas, memory }, async (device) => {
      // Never touched, so the system gives no pages for it.
      if (memory > 0) device.allocate(5 * 2 ** 30);
      const options = { tokens: 128, context: 64, batch: 2 };
      for (const stage of [align(options), distill(options)]) {
        const narrow = await backward(device, stage, true);
        const wide = await backward(device, stage, false);
        assert(wide.loss > 0);
        assertEquals(narrow.loss, wide.loss, stage.name);
        const first = narrow.gradients.findIndex((x, i) => x !== wide.gradients[i]);
        assertEquals(first, -1, stage.name);
        assert(narrow.bytes < 0.51 * wide.bytes, `${narrow.bytes} of ${wide.bytes}`);
      }
    });
  });
}

Deno.test("teacher in bf16: it is measured, and writes, as one in f32", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const ids = tokens(200);
    const text = { length: 200, read: (start: number, n: number) => ids.slice(start, start + n) };
    const ask = async (bf16: boolean) => {
      const model = (bf16 ? loadTeacher : loadCheckpoint)(device, CHECKPOINT);
      const measures = await evaluate(model, text, 64);
      const options = { tokens: 20, seed: 1, temperature: 1, topP: 1 };
      const written = await Array.fromAsync(generate(model, ids.subarray(0, 9), options));
      model.free();
      return { measures, written };
    };
    assertEquals(await ask(true), await ask(false));
  });
});
