/** Small models with random weights. */

import { decoderConfig } from "../../bench/shapes.ts";
import type { Device } from "../../devices/device.ts";
import {
  createStore,
  layoutOf,
  type Store,
  storeBindings,
  storeInputs,
} from "../../devices/store.ts";
import type { LoadedModel } from "../../infer/session.ts";
import type {
  DecoderConfig,
  MixerSpec,
  ModelSpec,
  RadRwkv6Spec,
  RadRwkv7Spec,
} from "../../models/config.ts";
import { modelParameters } from "../../models/decoder.ts";
import { random } from "./random.ts";

/** Softmax attention as a mixer. */
export const ATTENTION: MixerSpec = { kind: "attention" };

/** RAD-RWKV6 by the published flags with small ranks, and changes to that. */
export function radRwkv6(flags: Partial<RadRwkv6Spec> = {}): RadRwkv6Spec {
  return {
    kind: "radRwkv6",
    rope: false,
    tokenShift: true,
    balanceState: true,
    groupNorm: false,
    gate: 1,
    ranks: { tokenShift: 5, decay: 6, gate: 7 },
    ...flags,
  };
}

/** RAD-RWKV7 by the published flags with small ranks, and changes to that. */
export function radRwkv7(flags: Partial<RadRwkv7Spec> = {}): RadRwkv7Spec {
  return {
    kind: "radRwkv7",
    rope: true,
    balanceState: false,
    groupNorm: true,
    gate: 2,
    ranks: { decay: 5, iclr: 6, valueResidual: 7, gate: 8 },
    ...flags,
  };
}

/** A decoder in which no two sizes are equal, and changes to it. */
export const smallConfig = (changes: Partial<DecoderConfig> = {}): DecoderConfig => ({
  ...decoderConfig([24, 40, 3, 4, 2, 8, 50]),
  ...changes,
});

/** A model whose mixers have something to say: every weight is random, norms near 1. */
export function randomModel(
  device: Device,
  mixers: readonly MixerSpec[],
  changes: Partial<DecoderConfig> = {},
): LoadedModel & { readonly store: Store; free(): void } {
  const config = smallConfig({ layers: mixers.length, ...changes });
  const spec: ModelSpec = { config, mixers };
  const layout = layoutOf(modelParameters(spec));
  const store = createStore(device, layout);
  layout.tensors.forEach(({ name, shape, size }, i) => {
    const source = random(i + 1);
    const [centre, width] = /norm|ln_x.weight|k_k|k_a/.test(name)
      ? [1, 0.2]
      : [0, 1.5 * (shape.length === 1 ? 24 : shape[shape.length - 1]) ** -0.5];
    const values = Float32Array.from(
      { length: size },
      () => centre + source.uniform(-width, width),
    );
    store.write(name, values);
  });
  return {
    spec,
    device,
    store,
    inputs: storeInputs(layout, ""),
    bindings: storeBindings(store, ""),
    free: store.free,
  };
}
