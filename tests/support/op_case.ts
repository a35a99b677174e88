/** A graph to compute with one set of inputs: the unit that every device is tested by. */

import { input } from "../../graph/build.ts";
import { vectorJacobian } from "../../graph/gradient.ts";
import { type DType, type Shape, size, type Tensor } from "../../graph/tensor.ts";
import { type Random, random } from "./random.ts";

/** An input of a case: its shape and how its values are made. */
export interface CaseInput {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly value: (source: Random, index: number) => number;
}

/** Real numbers of a range. */
export function real(shape: Shape, low = -1, high = 1): CaseInput {
  return { shape, dtype: "f32", value: (source) => source.uniform(low, high) };
}

/** Whole numbers 0 … count−1 as real numbers, so that ties are common. */
export function whole(shape: Shape, count: number): CaseInput {
  return { shape, dtype: "f32", value: (source) => source.below(count) };
}

/** Token ids 0 … count−1. */
export function ids(shape: Shape, count: number): CaseInput {
  return { shape, dtype: "i32", value: (source) => source.below(count) };
}

/** Integers that are written out. */
export function integers(values: readonly number[]): CaseInput {
  return { shape: [values.length], dtype: "i32", value: (_, index) => values[index] };
}

/** Real numbers that are written out. */
export function reals(values: readonly number[]): CaseInput {
  return { shape: [values.length], dtype: "f32", value: (_, index) => values[index] };
}

/** A named graph with its inputs. */
export interface OpCase {
  readonly name: string;
  readonly inputs: Readonly<Record<string, CaseInput>>;
  readonly build: (inputs: Readonly<Record<string, Tensor>>) => readonly Tensor[];
  /** Inputs whose gradients are tested. */
  readonly differentiable: readonly string[];
}

/** A case; it differentiates all its real inputs unless it names others. */
export function opCase<Name extends string>(
  name: string,
  inputs: Readonly<Record<Name, CaseInput>>,
  build: (inputs: Readonly<Record<Name, Tensor>>) => Tensor | readonly Tensor[],
  differentiable?: readonly NoInfer<Name>[],
): OpCase {
  const all: Readonly<Record<string, CaseInput>> = inputs;
  return {
    name,
    inputs: all,
    build: (tensors) => [build(tensors)].flat(),
    differentiable: differentiable ?? Object.keys(all).filter((key) => all[key].dtype === "f32"),
  };
}

/** The graph of a case: its inputs as tensors and its outputs. */
export function caseGraph(
  { inputs, build }: OpCase,
): { inputs: Record<string, Tensor>; outputs: readonly Tensor[] } {
  const tensors = Object.fromEntries(
    Object.entries(inputs).map(([name, { shape, dtype }]) => [name, input(name, shape, dtype)]),
  );
  return { inputs: tensors, outputs: build(tensors) };
}

/** Values of a case's inputs; reals are exact in f32. */
export function caseValues({ inputs }: OpCase, seed = 1): Record<string, { data: Float64Array }> {
  return Object.fromEntries(
    Object.entries(inputs).map(([name, { shape, value }], index) => {
      const source = random(seed * 1000 + index);
      return [name, { data: new Float64Array(size(shape)).map((_, i) => value(source, i)) }];
    }),
  );
}

/** The outputs of a case and the gradients of its inputs, from a cotangent for every output. */
export function withGradients(original: OpCase): OpCase {
  const { name, inputs, build, differentiable } = original;
  const outputs = caseGraph(original).outputs;
  const cotangents = Object.fromEntries(
    outputs.map(({ shape }, i) => [`cotangent ${i}`, real(shape)]),
  );
  return {
    name: `${name}, gradients`,
    inputs: { ...inputs, ...cotangents },
    build: (tensors) => {
      const own = Object.keys(inputs).map((key) => [key, tensors[key]] as const);
      const results = build(Object.fromEntries(own));
      const pairs = results.map((of, i) => ({ of, gradient: tensors[`cotangent ${i}`] }));
      return [...results, ...vectorJacobian(pairs, differentiable.map((key) => tensors[key]))];
    },
    differentiable: [],
  };
}
