/** How well a model predicts a text. */

import * as g from "../graph/build.ts";
import { decoderForward } from "../models/decoder.ts";
import { rotaryFrequencies, rotaryTables } from "../models/rotary.ts";
import type { LoadedModel } from "./session.ts";

/** Token ids that can be read anywhere. */
export interface ReadableTokens {
  readonly length: number;
  read(start: number, count: number): Int32Array;
}

/** Losses over a text. */
export interface Evaluation {
  /** Tokens that were predicted. */
  readonly tokens: number;
  /** Mean cross-entropy in nats. */
  readonly loss: number;
  /** e^loss. */
  readonly perplexity: number;
}

/** Tokens that one run of the program predicts. */
const TOKENS_PER_RUN = 4096;

/** A text cut into windows, and these into batches. */
export interface EvaluationBatches {
  /** Windows of a batch, and batches. */
  readonly batch: number;
  readonly count: number;
  /** Tokens that are predicted, all together. */
  readonly total: number;
  /** A batch: ids and what follows them, [batch · context] each; the first `predicted` count. */
  read(index: number): {
    readonly ids: Int32Array;
    readonly targets: Int32Array;
    readonly predicted: number;
  };
}

/** Cuts a text for `evaluate`. Throws where there is nothing to predict. */
export function evaluationBatches(tokens: ReadableTokens, context: number): EvaluationBatches {
  const total = tokens.length - 1;
  if (total < 1) {
    throw new RangeError(`evaluate: expected at least 2 tokens, found ${tokens.length}`);
  }
  const windows = Math.ceil(total / context);
  const batch = Math.min(windows, Math.max(1, Math.floor(TOKENS_PER_RUN / context)));
  return {
    batch,
    count: Math.ceil(windows / batch),
    total,
    read: (index) => {
      const ids = new Int32Array(batch * context);
      const targets = new Int32Array(batch * context);
      let predicted = 0;
      for (let b = 0; b < Math.min(batch, windows - index * batch); b++) {
        // The last window may be short; what pads it comes after and changes nothing before.
        const begin = (index * batch + b) * context;
        const length = Math.min(context, total - begin);
        const text = tokens.read(begin, length + 1);
        ids.set(text.subarray(0, length), b * context);
        targets.set(text.subarray(1), b * context);
        predicted += length;
      }
      return { ids, targets, predicted };
    },
  };
}

/**
 * Predicts every token of a text but the first from those before it in its window: windows of
 * `context` tokens one after another, each starting afresh. Throws where there is nothing to predict.
 */
export async function evaluate(
  { spec, device, inputs, bindings }: LoadedModel,
  tokens: ReadableTokens,
  context: number,
): Promise<Evaluation> {
  const { batch, count, total, read } = evaluationBatches(tokens, context);
  const half = spec.config.headDim / 2;
  const output = decoderForward(spec, {
    ids: g.input("ids", [batch, context], "i32"),
    cosine: g.input("cosine", [1, context, half]),
    sine: g.input("sine", [1, context, half]),
    weight: (name) => inputs.get(name)!,
  });
  const losses = g.crossEntropy(
    output.hidden,
    output.head,
    g.input("targets", [batch * context], "i32"),
  );
  const memory = {
    ids: device.allocate(4 * batch * context),
    targets: device.allocate(4 * batch * context),
    cosine: device.allocate(4 * context * half),
    sine: device.allocate(4 * context * half),
  };
  const result = device.allocate(4 * batch * context);
  const executable = device.compile([losses], {
    inputs: { ...bindings, ...memory },
    results: [result],
    name: "measuring the loss",
  });
  try {
    const positions = Array.from({ length: context }, (_, i) => i);
    const tables = rotaryTables(rotaryFrequencies(spec.config), positions);
    device.write(memory.cosine, tables.cosine);
    device.write(memory.sine, tables.sine);
    const values = new Float32Array(batch * context);
    let sum = 0;
    for (let index = 0; index < count; index++) {
      const { ids, targets, predicted } = read(index);
      device.write(memory.ids, ids);
      device.write(memory.targets, targets);
      executable.run();
      await device.read(result, values);
      for (let i = 0; i < predicted; i++) sum += values[i];
    }
    const loss = sum / total;
    return { tokens: total, loss, perplexity: Math.exp(loss) };
  } finally {
    executable.free();
    [...Object.values(memory), result].forEach(device.free);
  }
}
