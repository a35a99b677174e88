/** Gradients against central differences in f64. */

import { assert } from "@std/assert";
import { evaluate } from "../../kernels/reference.ts";
import { caseGraph, caseValues, type OpCase, withGradients } from "./op_case.ts";
import { random } from "./random.ts";

/** Inputs of at most this many elements are tested one element at a time. */
const FEW = 24;
/** Directions, and single elements, that larger inputs are tested along. */
const DIRECTIONS = 2;
/** Step of a difference relative to the largest value of the input. */
const STEP = 1e-5;
/** Truncation is near STEP², rounding near 2^−52/STEP, each times a modest factor. */
const TOLERANCE = 1e-6;

/** What to move an input along: single elements, or everything at once. */
function directionsOf(count: number, seed: number): Float64Array[] {
  const unit = (at: number) => new Float64Array(count).map((_, i) => i === at ? 1 : 0);
  if (count <= FEW) return Array.from({ length: count }, (_, at) => unit(at));
  const source = random(seed);
  return Array.from({ length: DIRECTIONS }, () => [
    new Float64Array(count).map(() => source.uniform(-1, 1)),
    unit(source.below(count)),
  ]).flat();
}

/**
 * Fails unless every gradient of a case agrees with central differences of Σ outputs⊙cotangents.
 */
export function checkGradients(original: OpCase): void {
  const { outputs } = caseGraph(original);
  const extended = withGradients(original);
  const values = caseValues(extended);
  const results = evaluate(caseGraph(extended).outputs, values);
  const loss = (): number => {
    let sum = 0;
    evaluate(outputs, values).forEach((output, i) => {
      const cotangent = values[`cotangent ${i}`].data;
      output.forEach((value, j) => sum += value * cotangent[j]);
    });
    return sum;
  };
  original.differentiable.forEach((name, i) => {
    const gradient = results[outputs.length + i];
    const { data } = values[name];
    const step = STEP * data.reduce((top, x) => Math.max(top, Math.abs(x)), 1e-6);
    const largest = gradient.reduce((top, x) => Math.max(top, Math.abs(x)), 0);
    directionsOf(data.length, i).forEach((direction, number) => {
      const moved = (by: number): number => {
        values[name] = { data: data.map((x, j) => x + by * direction[j]) };
        return loss();
      };
      const numeric = (moved(step) - moved(-step)) / (2 * step);
      values[name] = { data };
      const exact = gradient.reduce((sum, x, j) => sum + x * direction[j], 0);
      const scale = gradient.reduce((sum, x, j) => sum + Math.abs(x * direction[j]), largest);
      assert(
        Math.abs(numeric - exact) <= TOLERANCE * Math.max(scale, 1e-2),
        `${original.name}: gradient of ${name} along direction ${number}: ` +
          `found ${exact}, differences give ${numeric}`,
      );
    });
  });
}
