/**
 * Hybrids by measurement: at the end of stage 1, the layers whose mixers are farthest from the
 * attention that they replace go back to it.
 */

import type { Device } from "../devices/device.ts";
import { storeBindings } from "../devices/store.ts";
import type { Choice } from "../dsl/surgery.ts";
import { mixerPrefix } from "../models/decoder.ts";
import { rotaryFrequencies, rotaryTables } from "../models/rotary.ts";
import type { TokenStream } from "./data.ts";
import { NotFiniteError } from "./finite.ts";
import { HELD_OUT_LIMIT } from "./measurement.ts";
import type { KeptAttention, LayerError } from "./report.ts";
import { heldModels, type Run } from "./run.ts";
import type { RunState } from "./run_folder.ts";
import { alignmentGraph, TEACHER_PREFIX, typesIn } from "./stage_graph.ts";
import type { StoredModel } from "./trainer.ts";

/** What the errors are measured of. */
export interface AlignmentOptions {
  readonly device: Device;
  readonly student: StoredModel;
  readonly teacher: StoredModel;
  /** At least one sequence of held-out text. */
  readonly text: TokenStream;
  readonly context: number;
  readonly onProgress: (done: number, total: number) => void;
}

/**
 * The stage-1 error of every converted layer on held-out text: ‖o_teacher − o_student‖₂·C^(−½), the
 * mean over sequences of `context` tokens one after another; what is left at the end is not used.
 */
export async function alignmentErrors(options: AlignmentOptions): Promise<LayerError[]> {
  const { device, student, teacher, text, context, onProgress } = options;
  const graph = alignmentGraph(student.spec, teacher.spec, context, typesIn(teacher.store));
  const half = student.spec.config.headDim / 2;
  using owned = new DisposableStack();
  const allocate = (bytes: number) => owned.adopt(device.allocate(bytes), device.free);
  const memory = {
    ids: allocate(4 * context),
    cosine: allocate(4 * context * half),
    sine: allocate(4 * context * half),
  };
  const results = graph.map(() => allocate(4));
  const executable = owned.adopt(
    device.compile(graph.map(({ loss }) => loss), {
      inputs: {
        ...memory,
        ...storeBindings(student.store, ""),
        ...storeBindings(teacher.store, TEACHER_PREFIX),
      },
      results,
      name: "stage-1 errors",
    }),
    (executable) => executable.free(),
  );
  const positions = Array.from({ length: context }, (_, i) => i);
  const tables = rotaryTables(rotaryFrequencies(student.spec.config), positions);
  device.write(memory.cosine, tables.cosine);
  device.write(memory.sine, tables.sine);

  const windows = Math.floor(Math.min(text.length, HELD_OUT_LIMIT) / context);
  const sums = new Float64Array(graph.length);
  const value = new Float32Array(1);
  for (let window = 0; window < windows; window++) {
    device.write(memory.ids, text.read(window * context, context));
    executable.run();
    for (const [i, result] of results.entries()) {
      await device.read(result, value);
      sums[i] += value[0];
    }
    onProgress(window + 1, windows);
  }
  return graph.map(({ layer }, i) => ({ layer, error: sums[i] / windows }));
}

/** The layers of a choice with the largest errors, in their order; of equal ones the first. */
export function worstOf(errors: readonly LayerError[], { layers, count }: Choice): number[] {
  const among = errors.filter(({ layer }) => layers.includes(layer));
  const sorted = among.toSorted((a, b) => b.error - a.error || a.layer - b.layer);
  return sorted.slice(0, count).map(({ layer }) => layer).toSorted((a, b) => a - b);
}

/**
 * Makes room for the hybrid in place of the student. Its weights are the student's, and in the
 * layers that are kept the teacher's.
 */
export async function becomeHybrid(run: Run, layers: readonly number[]): Promise<void> {
  const { origin } = run;
  const { student, teacher, replaceStudent } = heldModels(run);
  const { student: spec, config } = origin.hybrid!.keeping(layers);
  const kept = layers.map(mixerPrefix);
  await replaceStudent(spec, config, async (store) => {
    for (const { name } of store.layout.tensors) {
      const from = kept.some((prefix) => name.startsWith(prefix)) ? teacher! : student;
      store.write(name, await from.store.read(name));
    }
  });
}

/**
 * Measures the layers at the end of stage 1 and makes the hybrid, which is then the run's student.
 * @throws NotFiniteError
 */
export async function keepWorst(run: Run, state: RunState): Promise<RunState> {
  const { recipe, options: { device, events }, origin, texts, folder } = run;
  const models = heldModels(run);
  const stage = recipe.stages[state.stage - 1];
  const errors = await alignmentErrors({
    device,
    student: models.student,
    teacher: models.teacher!,
    text: texts.splits[state.stage - 1].heldOut,
    context: stage.context,
    onProgress: (done, total) => events.progress("measuring every layer's error", done, total),
  });
  const astray = errors.find(({ error }) => !Number.isFinite(error));
  if (astray !== undefined) {
    throw new NotFiniteError(
      `the stage-1 error of layer ${astray.layer} after ${stage.name} is ${astray.error}. Lower ` +
        "the learning rate, lengthen the warm-up or clip more, and run the recipe again.",
    );
  }
  const kept: KeptAttention = { layers: worstOf(errors, origin.hybrid!.choice), errors };
  await becomeHybrid(run, kept.layers);
  const next = { ...state, kept, elapsed: run.elapsed() };
  folder.log(state.stage, { step: 0, keptAttention: kept });
  await folder.saveStage(next, models.student.store);
  events.kept(kept);
  return next;
}
