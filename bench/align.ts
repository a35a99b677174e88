/** Stage 1 layer by layer on a model that need not fit in memory: seconds and memory a layer. */

import { join } from "node:path";
import { resourceUsage } from "node:process";
import type { Device } from "../devices/device.ts";
import { align } from "../dsl/stages.ts";
import { exists } from "../formats/files.ts";
import { openCheckpoint } from "../formats/safetensors/checkpoint.ts";
import { inspectCheckpoint } from "../infer/loading.ts";
import { modelParameters } from "../models/decoder.ts";
import { initialValues } from "../models/initial_values.ts";
import { randomStream } from "../models/random.ts";
import { BEGINNING } from "../train/stage.ts";
import { runStreamedStage } from "../train/by_layer/stage.ts";
import { madeWeights } from "../train/weights.ts";
import { writeRandomCheckpoint } from "./random_checkpoint.ts";
import { BENCH_MIXERS, type BenchMixer, type ShapeName, SHAPES } from "./shapes.ts";

/** What is measured. */
export interface AlignBenchOptions {
  readonly shape: ShapeName;
  readonly mixer: BenchMixer;
  /** Layers of the model; the shape's where it is not given. */
  readonly layers?: number;
  readonly steps: number;
  /** Where the teacher is, or is made, and where the layers are kept while it runs. */
  readonly folder: string;
}

/** A layer of the walk. */
export interface AlignedLayer {
  readonly layer: number;
  /** Reading, training and writing it. */
  readonly seconds: number;
  /** The most memory that the process has held so far. */
  readonly peakBytes: number;
}

/** What was measured. */
export interface AlignBench {
  readonly layers: readonly AlignedLayer[];
  /** Of one layer, read, trained and written. */
  readonly parameters: { readonly teacher: number; readonly trained: number };
  readonly tokens: number;
  readonly seconds: number;
  readonly peakBytes: number;
  readonly losses: readonly number[];
}

/** The most memory that this process has held: what the system calls VmHWM. */
const peakBytes = () => 1024 * resourceUsage().maxRSS;

/** Makes the teacher where it is not there yet, and aligns all of its layers for some steps. */
export async function benchAlign(
  device: Device,
  { shape, mixer, layers, steps, folder }: AlignBenchOptions,
  say: (line: string) => void,
): Promise<AlignBench> {
  const { batch, context, config: shaped } = SHAPES[shape];
  const config = { ...shaped, layers: layers ?? shaped.layers };
  const at = join(folder, `${shape}-${config.layers}`);
  if (!exists(join(at, "config.json"))) {
    say(`writing a random teacher to ${at}`);
    writeRandomCheckpoint(at, config);
  }
  const teacher = inspectCheckpoint(at);
  const student = {
    config: teacher.spec.config,
    mixers: teacher.spec.mixers.map(() => BENCH_MIXERS[mixer](config.hiddenSize)),
  };
  const parameters = new Map(modelParameters(student).map((p) => [p.name, p]));
  const known = new Set(modelParameters(teacher.spec).map(({ name }) => name));
  const made = madeWeights((name) => initialValues(parameters.get(name)!, 2));
  using stored = openCheckpoint(at);
  const random = randomStream(3, "tokens");
  const ids = Int32Array.from(
    { length: 4 * steps * batch * context },
    () => Math.floor(random.uniform() * config.vocabSize),
  );
  const done: AlignedLayer[] = [];
  const losses: number[] = [];
  const began = performance.now();
  let last = began;
  const work = Deno.makeTempDirSync({ dir: folder, prefix: "align-" });
  const ended = () => {
    const now = performance.now();
    const row = { layer: done.length, seconds: (now - last) / 1000, peakBytes: peakBytes() };
    done.push(row);
    say(
      `layer ${row.layer}: ${row.seconds.toFixed(2)} s, ${
        (row.peakBytes / 2 ** 30).toFixed(2)
      } GiB`,
    );
    last = now;
  };
  try {
    await runStreamedStage({
      device,
      stage: align({ batch, context, tokens: steps * batch * context, warmup: 0 }),
      student,
      teacher,
      weights: {
        readRangeF32: (name, start, into) =>
          (known.has(name) ? stored : made).readRangeF32(name, start, into),
      },
      tokens: { length: ids.length, read: (start, count) => ids.slice(start, start + count) },
      samplesBefore: 0,
      folder: work,
      progress: BEGINNING,
      onStep: ({ loss }) => losses.push(loss),
      onLayer: () => {},
      wantsCheckpoint: () => false,
      // A layer is written once, at its end.
      during: async (write) => {
        await write();
        ended();
      },
      checkpoint: () => Promise.resolve(),
      wantsStop: () => false,
    });
  } finally {
    Deno.removeSync(work, { recursive: true });
  }
  const count = (prefix: string, all: Iterable<{ name: string; shape: readonly number[] }>) =>
    [...all].filter(({ name }) => name.startsWith(prefix))
      .reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0);
  return {
    layers: done,
    parameters: {
      teacher: count("model.layers.0.", modelParameters(teacher.spec)),
      trained: count("model.layers.0.self_attn.", parameters.values()),
    },
    tokens: steps * batch * context,
    seconds: (performance.now() - began) / 1000,
    peakBytes: peakBytes(),
    losses,
  };
}
