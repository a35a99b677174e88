/** What a parameter is: a named tensor and what it holds before anything is learnt. */

import type { Shape } from "../graph/tensor.ts";

/** Initial values, as data; `random` draws them from a seeded stream (initial_values.ts). */
export type Initial =
  | { readonly kind: "constant"; readonly value: number }
  | { readonly kind: "normal"; readonly deviation: number }
  | { readonly kind: "uniform"; readonly bound: number }
  /** Orthonormal rows or columns times `gain` (and √(rows/columns) where there are more rows). */
  | { readonly kind: "orthogonal"; readonly gain: number }
  /** from + span·(n/(D−1))^power at channel n of D. */
  | {
    readonly kind: "ramp";
    readonly from: number;
    readonly span: number;
    readonly power: number;
  };

/** A parameter of a model, under its name in Hugging Face checkpoints. */
export interface Parameter {
  readonly name: string;
  readonly shape: Shape;
  readonly initial: Initial;
  /** Whether it belongs to a layer's mixer rather than to what is around it. */
  readonly mixer: boolean;
}

export const zeros: Initial = { kind: "constant", value: 0 };
export const ones: Initial = { kind: "constant", value: 1 };
