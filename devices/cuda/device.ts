/** The CUDA device: kernels as CUDA C++ through NVRTC, a program as one CUDA graph. */

import { schedule } from "../../graph/schedule.ts";
import type { GpuKernel } from "../../kernels/gpu/kernel.ts";
import { gpuKernelOf } from "../../kernels/gpu/program.ts";
import { buildProgram, type Program } from "../../kernels/program.ts";
import { checkBindings, memoryAt } from "../bindings.ts";
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
import { type CudaMemory, piece } from "./memory.ts";
import { createModules } from "./modules.ts";
import { openNvrtc } from "./nvrtc.ts";

/** Where things are that are otherwise searched for. */
export interface CudaOptions {
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

  // Programs run one after another, so they share one arena.
  let arena = piece(0n, 0);
  let layout = 0;
  const reserve = (bytes: number) => {
    if (bytes <= arena.bytes) return;
    if (arena.bytes > 0) context.free(arena.address);
    arena = piece(0n, 0);
    arena = piece(context.allocate(bytes), bytes);
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
    allocate: (bytes) => piece(context.allocate(bytes), bytes),
    free: (memory) => context.free((memory as CudaMemory).address),
    write: (memory, data) => {
      checkCopy(data, memory, "into");
      context.write((memory as CudaMemory).address, hostBytes(data));
    },
    read: (memory, into) => {
      checkCopy(into, memory, "from");
      context.read((memory as CudaMemory).address, hostBytes(into));
      return Promise.resolve();
    },
    clear: (memory) => context.clear((memory as CudaMemory).address, memory.bytes),
    compile: (results, bindings) =>
      bind(buildProgram(schedule(results, { epilogues: true }), gpuKernelOf), bindings),
    close: () => {
      context.close();
      nvrtc.close();
      driver.close();
      return Promise.resolve();
    },
  };
}
