/** Computing some tensors once, for checks and tests. */

import { size, type Tensor } from "../graph/tensor.ts";
import type { Device, Memory } from "./device.ts";

/** The input that holds a result: cached attention writes its caches in place. */
function inputOf({ node, output }: Tensor): string | undefined {
  if (node.op.kind !== "cached_attention" || output === 0) return undefined;
  const cache = node.inputs[2 + output].node.op;
  return cache.kind === "input" ? cache.name : undefined;
}

/**
 * Compiles, runs once, and reads what it computed.
 * @param values of the graph's inputs by name
 * @param bindings memory of further inputs
 */
export async function compute(
  device: Device,
  tensors: readonly Tensor[],
  values: Readonly<Record<string, Float32Array | Int32Array | Uint8Array>>,
  bindings: Readonly<Record<string, Memory>> = {},
): Promise<Float32Array[]> {
  const own: Memory[] = [];
  const allocate = (bytes: number): Memory => {
    const memory = device.allocate(bytes);
    own.push(memory);
    return memory;
  };
  try {
    const inputs: Record<string, Memory> = { ...bindings };
    for (const [name, data] of Object.entries(values)) {
      inputs[name] = allocate(data.byteLength);
      device.write(inputs[name], data);
    }
    const results = tensors.map((t) => {
      const name = inputOf(t);
      return name === undefined ? allocate(4 * size(t.shape)) : inputs[name];
    });
    const executable = device.compile(tensors, { inputs, results });
    try {
      executable.run();
      return await Promise.all(tensors.map(async ({ shape }, i) => {
        const found = new Float32Array(size(shape));
        await device.read(results[i], found);
        return found;
      }));
    } finally {
      executable.free();
    }
  } finally {
    own.forEach(device.free);
  }
}
