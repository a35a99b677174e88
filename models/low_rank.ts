/** Low-rank parts (LoRA) of the mixers, and the gate that they share. */

import * as g from "../graph/build.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { DecoderConfig } from "./config.ts";
import { type Initial, type Parameter, zeros } from "./parameter.ts";

/** Second LoRA matrices of RWKV-7 start orthogonal, a tenth of unit size. */
export const lora: Initial = { kind: "orthogonal", gain: 0.1 };

/** What a mixer's low-rank parts read. */
export interface LowRankInput {
  /** [batch, time, hidden]. */
  readonly x: Tensor;
  /** A parameter of the mixer by its name under `self_attn.`. */
  readonly weight: (name: string) => Tensor;
}

/** A LoRA over x: first [C, R], then a function, then second [R, D]. */
export function lowRank(
  { x, weight }: LowRankInput,
  name: string,
  between: (t: Tensor) => Tensor = (t) => t,
): Tensor {
  return g.matmul(between(g.matmul(x, weight(`${name}1`))), weight(`${name}2`));
}

/** 0 no gate, 1 σ(x·Wᵀ), 2 σ(x·g1)·g2. */
export type GateType = 0 | 1 | 2;

/**
 * Parameters of a gate. The first ones start as 0: a constant gate.
 * @param rank of type 2
 * @param second how the second matrix of type 2 starts: as those of the mixer's other LoRAs
 */
export function gateParameters(
  { hiddenSize, attentionHeads, headDim }: DecoderConfig,
  prefix: string,
  gate: GateType,
  rank: number,
  second: Initial,
): Parameter[] {
  const wide = attentionHeads * headDim;
  const own = (name: string, shape: readonly number[], initial: Initial): Parameter => ({
    name: `${prefix}${name}`,
    shape,
    initial,
    mixer: true,
  });
  switch (gate) {
    case 0:
      return [];
    case 1:
      return [own("gate.weight", [wide, hiddenSize], zeros)];
    case 2:
      return [own("g1", [hiddenSize, rank], zeros), own("g2", [rank, wide], second)];
    default:
      return gate satisfies never;
  }
}

/** Heads [batch, time, heads, headDim] times their gate, which is computed from x. */
export function gated(input: LowRankInput, gate: GateType, heads: Tensor): Tensor {
  const times = (t: Tensor) => g.mul(heads, g.reshape(t, heads.shape));
  switch (gate) {
    case 0:
      return heads;
    case 1:
      return times(g.sigmoid(g.linear(input.x, input.weight("gate.weight"))));
    case 2:
      return times(lowRank(input, "g", g.sigmoid));
    default:
      return gate satisfies never;
  }
}
