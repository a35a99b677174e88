/** What every mixer is given and gives back. */

import type { Tensor } from "../graph/tensor.ts";
import type { DecoderConfig } from "./config.ts";

/** The inputs of a layer's mixer. */
export interface MixerInput {
  readonly config: DecoderConfig;
  readonly layer: number;
  /** The normed residual stream, [batch, time, hidden]. */
  readonly x: Tensor;
  /** A parameter of the mixer by its name under `self_attn.`. */
  readonly weight: (name: string) => Tensor;
  /** Rotary tables, [batch or 1, time, headDim/2]. */
  readonly cosine: Tensor;
  readonly sine: Tensor;
  /** Layer 0's values, [batch, time, heads, headDim]; undefined in layer 0. */
  readonly firstValue?: Tensor;
  /** What earlier tokens left behind, by name; undefined at the start of a text. */
  readonly state?: Readonly<Record<string, Tensor>>;
  /** Positions of the first token, i32 [batch], where there is a state. */
  readonly start?: Tensor;
}

/** The outputs of a layer's mixer. */
export interface MixerOutput {
  /** After the output projection, [batch, time, hidden]. */
  readonly y: Tensor;
  /** The mixer's values, [batch, time, heads, headDim], which layer 0 passes on. */
  readonly value: Tensor;
  /** What later tokens need, by name; the same names and shapes as `mixerStateShapes`. */
  readonly state: Readonly<Record<string, Tensor>>;
}
