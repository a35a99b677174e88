/** A model with random weights on a device. */

import type { Device } from "../devices/device.ts";
import { createStore, layoutOf, storeBindings, storeInputs } from "../devices/store.ts";
import type { LoadedModel } from "../infer/session.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import { initialValues } from "../models/initial_values.ts";

/** Makes the model. Free it. */
export function randomModel(device: Device, spec: ModelSpec): LoadedModel & { free(): void } {
  const parameters = modelParameters(spec);
  const store = createStore(device, layoutOf(parameters));
  for (const parameter of parameters) store.write(parameter.name, initialValues(parameter, 1));
  return {
    spec,
    device,
    inputs: storeInputs(store.layout, ""),
    bindings: storeBindings(store, ""),
    free: () => store.free(),
  };
}
