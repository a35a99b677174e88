/** The WGSL of graphs, without a GPU. */

import { memoryAt } from "../../devices/bindings.ts";
import { linkLaunch } from "../../devices/webgpu/link.ts";
import { piece, type WebgpuMemory } from "../../devices/webgpu/memory.ts";
import { gridOf } from "../../devices/webgpu/pipelines.ts";
import { schedule } from "../../graph/schedule.ts";
import { size, type Tensor, tensorBytes } from "../../graph/tensor.ts";
import { joining } from "../../kernels/gpu/joined.ts";
import { GPU_SCHEDULING, gpuKernelsOf } from "../../kernels/gpu/program.ts";
import { buildProgram, type ProgramInput } from "../../kernels/program.ts";
import { renderWgsl } from "../../kernels/render/wgsl.ts";

/** What WebGPU promises, and what Chromium's software has beyond it. */
const LIMITS = {
  maxStorageBufferBindingSize: Infinity,
  maxStorageBuffersPerShaderStage: 8,
  minStorageBufferOffsetAlignment: 256,
};

/** Memory for some inputs in one buffer, as weights have it, or for the results. */
function inOneBuffer<K>(entries: readonly (readonly [K, number])[]): Map<K, WebgpuMemory> {
  const buffer = {} as GPUBuffer;
  let offset = 0;
  return new Map(entries.map(([key, bytes]) => {
    const at = piece(buffer, offset, bytes);
    offset += Math.ceil(bytes / 64) * 64;
    return [key, at];
  }));
}

/** The shader modules that compute some tensors, with subgroups and without, each once. */
export function wgslOf(results: readonly Tensor[]): string[] {
  const { launches, inputs, roots } = buildProgram(
    schedule(results, GPU_SCHEDULING),
    gpuKernelsOf,
    joining(LIMITS.maxStorageBuffersPerShaderStage - 1),
  );
  const inOne = (some: readonly ProgramInput[]) =>
    inOneBuffer(some.map(({ name, shape, dtype }) => [name, tensorBytes(shape, dtype)] as const));
  const isWhole = ({ dtype }: ProgramInput) => dtype === "i32";
  const known = new Map([
    ...inOne(inputs.filter((own) => !isWhole(own))),
    ...inOne(inputs.filter(isWhole)),
  ]);
  const own = inOneBuffer(roots.map(({ shape }, i) => [i, 4 * size(shape)] as const));
  const bindings = {
    inputs: Object.fromEntries(known),
    results: roots.map(({ through }, i) =>
      through === undefined ? own.get(i)! : known.get(through)!
    ),
  };
  const arena = {} as GPUBuffer;
  return [
    ...new Set(launches.flatMap((launch) => {
      const { kernel, operands } = launch;
      const memory = operands.map(({ place }) =>
        memoryAt(place, bindings, (offset) => piece(arena, offset, 0))
      );
      const linked = linkLaunch(launch, memory, LIMITS);
      const layout = {
        arrays: linked.of,
        written: linked.bindings.map(({ written }) => written),
        grid: gridOf(kernel.groups, 65535),
        groups: kernel.groups,
      };
      const code = kernel.code();
      return [renderWgsl(code, layout), renderWgsl(code, { ...layout, subgroups: "enabled" })];
    })),
  ];
}
