/** Models of a bench shape with random weights, held in a format. */

import type { Device } from "../devices/device.ts";
import { createStore, layoutOf, storeBindings, storeInputs } from "../devices/store.ts";
import type { LoadedModel } from "../infer/session.ts";
import { storedAs, type WeightFormat } from "../infer/weights.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import { initialValues } from "../models/initial_values.ts";
import type { Parameter } from "../models/parameter.ts";
import { randomStream } from "../models/random.ts";
import {
  BENCH_MIXERS,
  type BenchMixer,
  type LayerMixer,
  type ShapeName,
  SHAPES,
  uniform,
} from "./shapes.ts";

/** The mixers that decoding is measured with. */
export const DECODE_MIXERS = [
  ...Object.keys(BENCH_MIXERS) as BenchMixer[],
  "attention",
] as const satisfies readonly LayerMixer[];

/** Random numbers that a matrix repeats: a prime, so that rows differ. */
const PATTERN = 65521;
/** Deviation of all random weights. */
const DEVIATION = 0.02;

/** A shape's decoder with one mixer in every layer; the head is the embeddings, as in SmolLM. */
export function decodeSpec(shape: ShapeName, mixer: LayerMixer): ModelSpec {
  return uniform({ ...SHAPES[shape].config, tieWordEmbeddings: true }, mixer);
}

/** Puts a model with random weights on a device. Free it. */
export function randomModel(
  device: Device,
  spec: ModelSpec,
  format: WeightFormat,
): LoadedModel & { free(): void } {
  const random = randomStream(1, "weights");
  const pattern = Float32Array.from({ length: PATTERN }, () => DEVIATION * random.normal());
  const values = (parameter: Parameter): Float32Array => {
    const { kind } = parameter.initial;
    if (kind === "constant" || kind === "ramp") return initialValues(parameter, 1);
    const matrix = new Float32Array(parameter.shape.reduce((n, m) => n * m, 1));
    for (let at = 0; at < matrix.length; at += PATTERN) {
      matrix.set(pattern.subarray(0, matrix.length - at), at);
    }
    return matrix;
  };
  const parameters = modelParameters(spec);
  const layout = layoutOf(storedAs(parameters, format));
  const store = createStore(device, layout);
  for (const parameter of parameters) store.write(parameter.name, values(parameter));
  return {
    spec,
    device,
    inputs: storeInputs(layout, ""),
    bindings: storeBindings(store, ""),
    free: () => store.free(),
  };
}
