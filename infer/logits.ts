/** Logits of whole texts, by the parallel form that training uses. */

import type { Device, Executable, Memory } from "../devices/device.ts";
import * as g from "../graph/build.ts";
import { decoderForward } from "../models/decoder.ts";
import { rotaryFrequencies, rotaryTables } from "../models/rotary.ts";
import type { LoadedModel } from "./session.ts";

/** Tokens that go through the decoder in one run, where a text is not longer. */
const TOKENS_PER_RUN = 4096;
/** Logits that are held at a time. */
const LOGITS_PER_BLOCK = 1 << 24;

/** A program and the memory that it works on. */
interface Part {
  readonly memory: Readonly<Record<string, Memory>>;
  readonly executable: Executable;
}

const freePart = (device: Device, { memory, executable }: Part) => {
  executable.free();
  Object.values(memory).forEach(device.free);
};

/** Ids [texts, time] to hidden states [texts·time, hidden]. */
function decoderPart({ spec, device, inputs, bindings }: LoadedModel, texts: number, time: number) {
  const half = spec.config.headDim / 2;
  const { hidden } = decoderForward(spec, {
    ids: g.input("ids", [texts, time], "i32"),
    cosine: g.input("cosine", [1, time, half]),
    sine: g.input("sine", [1, time, half]),
    weight: (name) => inputs.get(name)!,
  });
  const memory = {
    ids: device.allocate(4 * texts * time),
    cosine: device.allocate(4 * time * half),
    sine: device.allocate(4 * time * half),
    hidden: device.allocate(4 * texts * time * spec.config.hiddenSize),
  };
  const executable = device.compile([hidden], {
    inputs: { ...bindings, ...memory },
    results: [memory.hidden],
    name: "forward: layers",
  });
  const positions = Array.from({ length: time }, (_, i) => i);
  const tables = rotaryTables(rotaryFrequencies(spec.config), positions);
  device.write(memory.cosine, tables.cosine);
  device.write(memory.sine, tables.sine);
  return { memory, executable };
}

/** Hidden states [tokens, hidden] to logits [tokens, vocabulary]. */
function headPart({ spec, device, inputs, bindings }: LoadedModel, tokens: number) {
  const { hiddenSize, vocabSize, tieWordEmbeddings } = spec.config;
  const name = tieWordEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  const logits = g.matmul(g.input("block", [tokens, hiddenSize]), inputs.get(name)!, {
    transposeB: true,
  });
  const memory = {
    block: device.allocate(4 * tokens * hiddenSize),
    logits: device.allocate(4 * tokens * vocabSize),
  };
  const executable = device.compile([logits], {
    inputs: { ...bindings, block: memory.block },
    results: [memory.logits],
    name: "forward: head",
  });
  return { memory, executable };
}

/**
 * The logits of every token of several texts of one length, ids [texts, time] row by row: yields
 * them in that order, a few tokens at a time, [some, vocabulary]. What is yielded is overwritten by
 * the next.
 */
export async function* forwardLogits(
  model: LoadedModel,
  ids: Int32Array,
  time: number,
): AsyncGenerator<Float32Array> {
  const { device, spec } = model;
  const { hiddenSize, vocabSize } = spec.config;
  const texts = ids.length / time;
  const together = Math.min(texts, Math.max(1, Math.floor(TOKENS_PER_RUN / time)));
  const block = Math.min(together * time, Math.max(1, Math.floor(LOGITS_PER_BLOCK / vocabSize)));
  const parts: Part[] = [];
  try {
    const decoder = decoderPart(model, together, time);
    parts.push(decoder);
    const head = headPart(model, block);
    parts.push(head);
    const hidden = new Float32Array(together * time * hiddenSize);
    const logits = new Float32Array(block * vocabSize);
    for (let first = 0; first < texts; first += together) {
      const count = Math.min(together, texts - first) * time;
      // What fills up the last run is computed and not used.
      const batch = new Int32Array(together * time);
      batch.set(ids.subarray(first * time, first * time + count));
      device.write(decoder.memory.ids, batch);
      decoder.executable.run();
      await device.read(decoder.memory.hidden, hidden);
      for (let at = 0; at < count; at += block) {
        const tokens = Math.min(block, count - at);
        const rows = hidden.subarray(at * hiddenSize, (at + tokens) * hiddenSize);
        device.write(head.memory.block, rows);
        head.executable.run();
        await device.read(head.memory.logits, logits);
        yield logits.subarray(0, tokens * vocabSize);
      }
    }
  } finally {
    parts.forEach((part) => freePart(device, part));
  }
}
