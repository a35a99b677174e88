/** Bytes that a model takes of a device, which has to be opened for it. */

import { layoutOf } from "../devices/store.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";

/** Logits, caches and what a chunk of text takes beside the weights. */
const BESIDE_WEIGHTS = 2 ** 30;

/** Bytes that a model takes while it reads and writes, its weights all f32. */
export const inferenceBytes = (spec: ModelSpec): number =>
  4 * layoutOf(modelParameters(spec)).size + BESIDE_WEIGHTS;
