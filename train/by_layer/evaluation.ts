/** How well a model on disk predicts a text: `evaluate`, layer by layer. */

import { join } from "node:path";
import type { Device } from "../../devices/device.ts";
import { createStore, layoutOf, storeBindings } from "../../devices/store.ts";
import { align } from "../../dsl/stages.ts";
import * as g from "../../graph/build.ts";
import { type Evaluation, evaluationBatches, type ReadableTokens } from "../../infer/evaluation.ts";
import type { ModelSpec } from "../../models/config.ts";
import { headName, LAST_NORM, layerPrefix } from "../../models/decoder.ts";
import { createLayerTrainer, type LayerTrainer } from "./trainer.ts";
import type { Records } from "./records.ts";
import { hostArrays, passThrough } from "./layer.ts";
import { forwardLayers } from "./layers.ts";
import { fillStore, type Weights } from "../weights.ts";
import { openStreams, SCRATCH_BYTES, windowSteps, writeEmbeddings } from "./windows.ts";

/** A model on disk, and where its streams may be. */
export interface LayeredModel {
  readonly device: Device;
  readonly spec: ModelSpec;
  readonly weights: Weights;
  /** A folder in which one for the streams is made and removed again. */
  readonly folder: string;
  readonly scratchBytes?: number;
  readonly onProgress: (done: number, total: number) => void;
}

/** The head over a stream: the losses of a batch's tokens. */
async function createHead(model: LayeredModel, batch: number, context: number) {
  const { device, spec: { config }, weights } = model;
  const { hiddenSize, vocabSize, rmsNormEps } = config;
  const head = headName(config);
  using owned = new DisposableStack();
  const allocate = (bytes: number) => owned.adopt(device.allocate(bytes), device.free);
  const store = owned.adopt(
    createStore(
      device,
      layoutOf([
        { name: LAST_NORM, shape: [hiddenSize] },
        { name: head, shape: [vocabSize, hiddenSize] },
      ]),
    ),
    (store) => store.free(),
  );
  await fillStore(device, store, weights);
  const tokens = batch * context;
  const stream = g.input("stream", [batch, context, hiddenSize]);
  const normed = g.rmsNorm(stream, g.input(LAST_NORM, [hiddenSize]), rmsNormEps);
  const losses = g.crossEntropy(
    g.reshape(normed, [tokens, hiddenSize]),
    g.input(head, [vocabSize, hiddenSize]),
    g.input("targets", [tokens], "i32"),
  );
  const memory = { stream: allocate(4 * tokens * hiddenSize), targets: allocate(4 * tokens) };
  const result = allocate(4 * tokens);
  const executable = owned.adopt(
    device.compile([losses], {
      inputs: { ...memory, ...storeBindings(store, "") },
      results: [result],
    }),
    (executable) => executable.free(),
  );
  const kept = owned.move();
  const values = new Float32Array(tokens);
  return {
    losses: async (stream: Float32Array, targets: Int32Array): Promise<Float32Array> => {
      device.write(memory.stream, stream);
      device.write(memory.targets, targets);
      executable.run();
      await device.read(result, values);
      return values;
    },
    [Symbol.dispose]: () => kept.dispose(),
  };
}

/**
 * `evaluate`, of a model on disk: the same windows of text and the same sums, with one layer in
 * memory at a time, and at the end the head.
 */
export async function evaluateLayers(
  model: LayeredModel,
  tokens: ReadableTokens,
  context: number,
): Promise<Evaluation> {
  const { device, spec, weights, onProgress } = model;
  const { batch, count, read, total } = evaluationBatches(tokens, context);
  // Of a stage only the shape of its batches counts here.
  const stage = align({ batch, context, tokens: batch * context });
  const layers = forwardLayers(stage, spec);
  const { roles } = layers;
  const folder = join(model.folder, "evaluation");
  Deno.mkdirSync(folder, { recursive: true });
  const length = windowSteps(layers, model.scratchBytes ?? SCRATCH_BYTES);
  let sum = 0;
  try {
    using streams = openStreams(folder, layers);
    for (let from = 0; from < count; from += length) {
      const records = Array.from({ length: Math.min(length, count - from) }, (_, i) => i);
      const ids = records.map((record) => read(from + record).ids);
      await writeEmbeddings(weights, spec.config.hiddenSize, ids, streams.of(0, "stream"));
      let trainer: LayerTrainer | undefined;
      try {
        for (const role of roles) {
          if (trainer?.key !== role.key) {
            trainer?.free();
            trainer = undefined;
            trainer = createLayerTrainer(device, layers, role);
          }
          const prefix = layerPrefix(role.layer);
          await fillStore(device, trainer.teacher, weights, (name) => prefix + name);
          const hostOf = hostArrays(trainer, role, streams);
          for (const record of records) {
            await passThrough(trainer, role, streams, [record], hostOf);
            const done = from * roles.length + role.layer * records.length + record + 1;
            onProgress(done, count * roles.length);
          }
        }
      } finally {
        trainer?.free();
      }
      sum += await headLosses(
        model,
        streams.of(roles.length, "stream"),
        records,
        (record) => read(from + record),
        { batch, context },
      );
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
  const loss = sum / total;
  return { tokens: total, loss, perplexity: Math.exp(loss) };
}

/** The sum of the losses of all predicted tokens of some batches. */
async function headLosses(
  model: LayeredModel,
  streams: Records,
  records: readonly number[],
  read: (record: number) => { readonly targets: Int32Array; readonly predicted: number },
  { batch, context }: { readonly batch: number; readonly context: number },
): Promise<number> {
  using head = await createHead(model, batch, context);
  const stream = new Float32Array(streams.length);
  let sum = 0;
  for (const record of records) {
    const { targets, predicted } = read(record);
    streams.read(record, stream);
    const losses = await head.losses(stream, targets);
    for (let i = 0; i < predicted; i++) sum += losses[i];
  }
  return sum;
}
