/** Whether the memory that a program is bound to fits it. */

import type { Place } from "../graph/memory.ts";
import { tensorBytes } from "../graph/tensor.ts";
import type { ProgramInput, ProgramRoot } from "../kernels/program.ts";
import type { Bindings, Memory } from "./device.ts";

/** Throws all that is wrong; `same` tells whether two pieces begin at one place. */
export function checkBindings<M extends Memory>(
  device: string,
  program: { readonly inputs: readonly ProgramInput[]; readonly roots: readonly ProgramRoot[] },
  { inputs, results }: Bindings,
  same: (a: M, b: M) => boolean,
): void {
  const problems = program.inputs.flatMap(({ name, shape, dtype }) => {
    const bytes = tensorBytes(shape, dtype);
    const bound = inputs[name];
    if (bound === undefined) return [`input ${name} [${shape.join(", ")}] has no memory`];
    return bound.bytes === bytes ? [] : [`input ${name}: ${bound.bytes} bytes, expected ${bytes}`];
  });
  program.roots.forEach(({ shape, dtype, through }, i) => {
    const bytes = tensorBytes(shape, dtype);
    const shared = through === undefined ? undefined : inputs[through];
    if (shared !== undefined && !same(shared as M, results[i] as M)) {
      problems.push(`result ${i}: expected the memory of ${through}, which it is written through`);
    }
    if (results[i]?.bytes !== bytes) {
      problems.push(`result ${i}: ${results[i]?.bytes} bytes, expected ${bytes}`);
    }
  });
  if (problems.length > 0) throw new Error(`${device}: bindings: ${problems.join("; ")}`);
}

/** The memory of a place of a program. */
export function memoryAt<M extends Memory | undefined>(
  place: Place,
  { inputs, results }: Bindings,
  arena: (offset: number) => M,
): M {
  switch (place.kind) {
    case "arena":
      return arena(place.offset);
    case "input":
      return inputs[place.name] as M;
    case "root":
      return results[place.index] as M;
    default:
      return place satisfies never;
  }
}
