/** In how many bits a model's weights are held for decoding. */

import type { NamedShape } from "../devices/store.ts";
import { isBlocked, WEIGHT_BLOCK, type WeightDType } from "../graph/tensor.ts";
import type { Parameter } from "../models/parameter.ts";

/** Formats that weights can be held in, widest first. */
export const WEIGHT_FORMATS = ["f32", "bf16", "q8_0", "q4_0"] as const;

/** A format of weights. */
export type WeightFormat = typeof WEIGHT_FORMATS[number];

/** Whether a parameter is a matrix that every token is multiplied with, or the embeddings. */
const isProjection = ({ name, shape }: Parameter) => shape.length === 2 && name.endsWith(".weight");

function fits({ shape }: Parameter, dtype: WeightDType): boolean {
  return !isBlocked(dtype) || shape[1] % WEIGHT_BLOCK === 0;
}

/**
 * How parameters are held in a format: embeddings, head, projections, MLPs and full gates in it.
 * Everything else stays f32: norms, biases, decays, token shifts, LoRA matrices, and for q8_0 and
 * q4_0 what has rows that are not made of blocks of 32.
 */
export function storedAs(parameters: readonly Parameter[], format: WeightFormat): NamedShape[] {
  return parameters.map((parameter) => {
    const { name, shape } = parameter;
    const stored = format !== "f32" && isProjection(parameter) && fits(parameter, format);
    return stored ? { name, shape, dtype: format } : { name, shape };
  });
}
