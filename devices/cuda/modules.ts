/** Kernels as loaded functions, each compiled once. */

import type { GpuKernel } from "../../kernels/gpu/kernel.ts";
import type { Launch } from "../../kernels/program.ts";
import { type CudaKernel, renderCuda } from "../../kernels/render/cuda.ts";
import { checkReach } from "../reach.ts";
import type { CudaContext, CudaFunction } from "./context.ts";
import type { KernelCache } from "./kernel_cache.ts";
import { type Nvrtc, targetFor } from "./nvrtc.ts";

/** A function and the threads of its blocks. */
export interface LoadedKernel {
  readonly function: CudaFunction;
  readonly threads: number;
}

/** Loads kernels. */
export interface Modules {
  /** The functions of a program's launches; those that are new become one module. */
  load(launches: readonly Launch<GpuKernel>[]): LoadedKernel[];
}

/** Words of every operand of a launch, from the one that the kernel counts from. */
const operandElements = ({ operands }: Launch<GpuKernel>): number[] =>
  operands.map(({ bytes, offset }) => Math.ceil((bytes - offset) / 4));

/** Bytes of a tensor at most: kernels count elements in 32 bits, signed, up to a group's beyond the last. */
const TENSOR_LIMIT = 4 * (2 ** 31 - 2 ** 16);

const keyOf = (launch: Launch<GpuKernel>) =>
  `${launch.kernel.key} ${operandElements(launch).join()}`;

/** The different kernels of some launches, by key, named for a module. */
export function moduleKernels(launches: readonly Launch<GpuKernel>[]): Map<string, CudaKernel> {
  const kernels = new Map<string, CudaKernel>();
  for (const launch of launches) {
    const key = keyOf(launch);
    if (kernels.has(key)) continue;
    const code = launch.kernel.code();
    const name = `${code.name}_${kernels.size}`;
    kernels.set(key, { name, code, elements: operandElements(launch), label: launch.label });
  }
  return kernels;
}

/** Modules of a GPU. */
export function createModules(
  context: CudaContext,
  nvrtc: Nvrtc,
  cache: KernelCache,
  driverVersion: string,
): Modules {
  const target = targetFor(context.architecture, nvrtc.architectures);
  const { major, minor } = nvrtc.version;
  const made = `NVRTC ${major}.${minor}, driver ${driverVersion}, ${context.name}`;
  const loaded = new Map<string, LoadedKernel>();
  return {
    load: (launches) => {
      launches.forEach((launch) => checkReach("cuda", launch, TENSOR_LIMIT));
      const wanted = moduleKernels(launches.filter((launch) => !loaded.has(keyOf(launch))));
      if (wanted.size > 0) {
        const kernels = [...wanted.values()];
        const source = renderCuda(kernels);
        const key = { source, target: `${target.kind} ${target.architecture}`, made };
        const code = cache.code(key, () => nvrtc.compile(source, "suture", target).code);
        const functions = context.load(code, kernels.map(({ name }) => name));
        [...wanted.keys()].forEach((key, i) => {
          loaded.set(key, { function: functions[i], threads: kernels[i].code.threads });
        });
      }
      return launches.map((launch) => loaded.get(keyOf(launch))!);
    },
  };
}
