/** Cases on a device, held against the reference. */

import { assertEquals } from "@std/assert";
import { compute } from "../../devices/compute.ts";
import type { Device } from "../../devices/device.ts";
import { evaluate } from "../../kernels/reference.ts";
import { caseGraph, caseValues, type OpCase } from "./op_case.ts";

/**
 * Largest difference from the reference relative to the largest value of a tensor: roundings of
 * 2^−24 = 6e-8, a few for each elementary function, and √n of them for sums of n ≤ 1000 terms.
 */
export const TOLERANCE = 4e-6;
/** Inputs are near 1: a tensor of smaller values than this holds differences of such numbers. */
const SMALL = 0.05;

/** Computes a case on a device. */
export function runCase(device: Device, original: OpCase): Promise<Float32Array[]> {
  const { inputs, outputs } = caseGraph(original);
  const values = caseValues(original);
  const arrays = Object.entries(inputs).map(([name, { dtype }]) => {
    const { data } = values[name];
    return [name, dtype === "i32" ? Int32Array.from(data) : Float32Array.from(data)];
  });
  return compute(device, outputs, Object.fromEntries(arrays));
}

/** How far a computed case is from the reference. */
function caseError(original: OpCase, found: readonly Float32Array[]): number {
  const expected = evaluate(caseGraph(original).outputs, caseValues(original));
  return Math.max(...expected.map((data, i) => {
    const largest = data.reduce((top, x) => Math.max(top, Math.abs(x)), SMALL);
    return data.reduce((worst, x, j) => {
      const apart = Math.abs(x - found[i][j]);
      return Number.isNaN(apart) ? Infinity : Math.max(worst, apart / largest);
    }, 0);
  }));
}

/** Fails unless a device computes cases as the reference does; names all that it does not. */
export async function assertCases(
  device: Device,
  cases: readonly OpCase[],
  tolerance = TOLERANCE,
): Promise<void> {
  const wrong: string[] = [];
  for (const each of cases) {
    try {
      const error = caseError(each, await runCase(device, each));
      if (!(error <= tolerance)) wrong.push(`${each.name}: relative error ${error}`);
    } catch (error) {
      wrong.push(`${each.name}: ${(error as Error).message}`);
    }
  }
  assertEquals(wrong, []);
}
