/** The CUDA device: kernels as CUDA C++ through NVRTC, a program as one CUDA graph. */

import type { GpuKernel } from "../../kernels/gpu/kernel.ts";
import { joining } from "../../kernels/gpu/joined.ts";
import { GPU_SCHEDULING, gpuKernelsOf } from "../../kernels/gpu/program.ts";
import type { Program } from "../../kernels/program.ts";
import { renderCuda } from "../../kernels/render/cuda.ts";
import { checkBindings, memoryAt } from "../bindings.ts";
import { type CompileOptions, compileWith } from "../compile.ts";
import {
  type Bindings,
  checkCopy,
  type Device,
  type Executable,
  type HostArray,
} from "../device.ts";
import { profileRows } from "../profile.ts";
import { type CudaGraph, type CudaLaunch, findGpu, gpuName, openContext } from "./context.ts";
import { openDriver, versionText } from "./driver.ts";
import { CudaError } from "./error.ts";
import { openKernelCache } from "./kernel_cache.ts";
import { createMemory, type CudaMemory, piece } from "./memory.ts";
import { createModules, moduleKernels } from "./modules.ts";
import { openNvrtc } from "./nvrtc.ts";

/** What is told of programs, and where things are that are otherwise searched for. */
export interface CudaOptions extends CompileOptions {
  /** Path of the driver. */
  readonly driver?: string;
  /** Path of NVRTC. */
  readonly nvrtc?: string;
  /** Folder of compiled kernels. */
  readonly cache?: string;
}

const hostBytes = ({ buffer, byteOffset, byteLength }: HostArray) =>
  new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);

/** The name of the GPU that `openCuda` opens; undefined where something that it needs is missing. */
export function describeCuda(options: CudaOptions = {}): string | undefined {
  try {
    const driver = openDriver(options.driver);
    try {
      openNvrtc(options.nvrtc).close();
      return gpuName(driver, findGpu(driver));
    } finally {
      driver.close();
    }
  } catch (error) {
    if (error instanceof CudaError) return undefined;
    throw error;
  }
}

/** Opens the first GPU. @throws CudaError without one, and for libraries that do not fit. */
export function openCuda(options: CudaOptions = {}): Device {
  const driver = openDriver(options.driver);
  const nvrtc = openNvrtc(options.nvrtc);
  const compiler = `${nvrtc.version.major}.${nvrtc.version.minor}`;
  const driverVersion = versionText(driver.version);
  if (nvrtc.version.major > Math.floor(driver.version / 1000)) {
    throw new CudaError(
      `cuda: ${nvrtc.path}: expected NVRTC ${Math.floor(driver.version / 1000)}, which fits the ` +
        `driver for CUDA ${driverVersion}, found ${compiler}; install a newer driver, or name an ` +
        "older NVRTC in SUTURE_CUDA_NVRTC",
    );
  }
  const context = openContext(driver);
  const modules = createModules(context, nvrtc, openKernelCache(options.cache), driverVersion);

  const memory = createMemory(context);
  // Programs run one after another, so they share one arena.
  let arena = piece(0n, 0);
  let layout = 0;
  const reserve = (bytes: number) => {
    if (bytes <= arena.bytes) return;
    if (arena.bytes > 0) memory.free(arena);
    arena = piece(0n, 0);
    arena = memory.allocate(bytes);
    layout++;
  };

  const bind = (program: Program<GpuKernel>, bindings: Bindings): Executable => {
    const { launches } = program;
    const kernels = modules.load(launches);
    reserve(program.arenaBytes);
    let linked: { readonly layout: number; readonly graph: CudaGraph } | undefined;
    const inArena = (offset: number) => piece(arena.address + BigInt(offset), 0);
    const ready = (): CudaLaunch[] =>
      launches.map(({ kernel, operands }, i) => ({
        function: kernels[i].function,
        grid: [kernel.groups, 1, 1],
        block: [kernels[i].threads, 1, 1],
        operands: operands.map(({ place, offset }) =>
          memoryAt<CudaMemory>(place, bindings, inArena).address + BigInt(offset)
        ),
      }));
    const check = () =>
      checkBindings<CudaMemory>("cuda", program, bindings, (a, b) => a.address === b.address);
    return {
      flops: launches.reduce((n, { kernel }) => n + kernel.flops, 0),
      arenaBytes: program.arenaBytes,
      run: () => {
        if (linked?.layout !== layout) {
          check();
          linked?.graph.free();
          linked = undefined;
          const graph = context.record(() => ready().forEach(context.launch));
          linked = { layout, graph };
        }
        linked.graph.launch();
      },
      profile: () => {
        check();
        const works = ready().map((launch) => () => context.launch(launch));
        return Promise.resolve(profileRows(program, context.time(works)));
      },
      free: () => {
        linked?.graph.free();
        linked = undefined;
      },
    };
  };

  return {
    kind: "cuda",
    description:
      `cuda: ${context.name}, sm_${context.architecture}, driver ${driverVersion}, NVRTC ${compiler}`,
    allocate: memory.allocate,
    free: (at) => memory.free(at as CudaMemory),
    memoryUse: memory.use,
    write: (at, data) => {
      checkCopy(data, at, "into");
      context.write((at as CudaMemory).address, hostBytes(data));
    },
    read: (at, into) => {
      checkCopy(into, at, "from");
      context.read((at as CudaMemory).address, hostBytes(into));
      return Promise.resolve();
    },
    clear: (at) => context.clear((at as CudaMemory).address, at.bytes),
    compile: compileWith<GpuKernel>({
      ...{ bind, kernelsOf: gpuKernelsOf, joining: joining(Infinity) },
      scheduling: GPU_SCHEDULING,
      code: (launch) => renderCuda([...moduleKernels([launch]).values()]),
    }, options),
    close: () => {
      context.close();
      nvrtc.close();
      driver.close();
      return Promise.resolve();
    },
  };
}
