/** The CUDA device: kernels as CUDA C++ through NVRTC, a program as one CUDA graph. */

import { fittingKernel, type GpuKernel } from "../../kernels/gpu/kernel.ts";
import { joining } from "../../kernels/gpu/joined.ts";
import { matmulKernel, matmulKernels } from "../../kernels/gpu/matmul/matmul.ts";
import { GPU_SCHEDULING, gpuKernelsOf, type ProductKernels } from "../../kernels/gpu/program.ts";
import { type Launch, oneKernel, type OperandMemory, type Program } from "../../kernels/program.ts";
import { renderCuda } from "../../kernels/render/cuda.ts";
import { checkBindings, memoryAt } from "../bindings.ts";
import { type CompileOptions, compileWith } from "../compile.ts";
import {
  type Bindings,
  checkCopy,
  type Device,
  type Executable,
  type HostArray,
  type ProductPrecision,
} from "../device.ts";
import { profileRows } from "../profile.ts";
import { type CudaGraph, findGpu, gpuName, openContext } from "./context.ts";
import {
  type CublasLt,
  CUBLASLT_VARIABLE,
  type CudaInstallation,
  openCublasLt,
} from "./cublas_lt.ts";
import { type Driver, openDriver, versionText } from "./driver.ts";
import { CudaError } from "./error.ts";
import { isFused, OWN_FLOPS, plainProduct } from "./gemm.ts";
import { openKernelCache } from "./kernel_cache.ts";
import { variable } from "../environment.ts";
import { createMemory, type CudaMemory, piece } from "./memory.ts";
import { createModules, moduleKernels } from "./modules.ts";
import { openNvrtc } from "./nvrtc.ts";
import { createProducts } from "./products.ts";
import type { ProductNumbers } from "../../kernels/gpu/matmul/tiling.ts";

/** What is told of programs, and where things are that are otherwise searched for. */
export interface CudaOptions extends CompileOptions {
  /** Path of the driver. */
  readonly driver?: string;
  /** Path of NVRTC. */
  readonly nvrtc?: string;
  /** Path of cuBLASLt, or `none` to multiply matrices by our own kernels alone. */
  readonly cublasLt?: string;
  /** Folder of compiled kernels. */
  readonly cache?: string;
  /** In which numbers matrices are multiplied, f32 by default. */
  readonly products?: ProductPrecision;
  /** Operations of the largest products that are ours beside cuBLASLt; as measured by default. */
  readonly ownFlops?: number;
}

const hostBytes = ({ buffer, byteOffset, byteLength }: HostArray) =>
  new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);

/** The major version of CUDA that a driver is for. */
const majorOf = ({ version }: Driver) => Math.floor(version / 1000);

/** The name of the GPU that `openCuda` opens; undefined where something that it needs is missing. */
export function describeCuda(options: CudaOptions = {}): string | undefined {
  try {
    const driver = openDriver(options.driver);
    try {
      openNvrtc(options.nvrtc, majorOf(driver)).close();
      return gpuName(driver, findGpu(driver));
    } finally {
      driver.close();
    }
  } catch (error) {
    if (error instanceof CudaError) return undefined;
    throw error;
  }
}

/**
 * The library for products; undefined where there is none, and our own kernels do them.
 * @throws CudaError where one that was named does not open.
 */
function findCublasLt(
  installed: CudaInstallation,
  path: string | undefined,
): CublasLt | undefined {
  try {
    return path === "none" ? undefined : openCublasLt(installed, path);
  } catch (error) {
    if (!(error instanceof CudaError) || path !== undefined) throw error;
    return undefined;
  }
}

/** The oldest GPUs whose tensor cores multiply in TF32. */
const TF32_ARCHITECTURE = 80;

/** The kernels of a product: the library's where it can, and ours is compiled where it then cannot. */
const libraryProducts =
  (ownFlops: number, numbers: ProductNumbers): ProductKernels => (step, shape, epilogue) => {
    const { batch, m, n, k } = shape;
    const matmul = plainProduct(step, shape);
    const isOwn = 2 * batch * m * n * k <= ownFlops && !matmul?.accumulates;
    if (matmul === undefined || isOwn) return matmulKernels(step, shape, epilogue, numbers);
    const own = matmulKernel(shape, epilogue, numbers);
    return oneKernel(step, { ...own, matmul });
  };

/** Opens the first GPU. @throws CudaError without one, and for libraries that do not fit. */
export function openCuda(options: CudaOptions = {}): Device {
  const driver = openDriver(options.driver);
  const major = majorOf(driver);
  const nvrtc = openNvrtc(options.nvrtc, major);
  const compiler = `${nvrtc.version.major}.${nvrtc.version.minor}`;
  const driverVersion = versionText(driver.version);
  if (nvrtc.version.major > major) {
    throw new CudaError(
      `cuda: ${nvrtc.path}: expected NVRTC ${major}, which fits the ` +
        `driver for CUDA ${driverVersion}, found ${compiler}; install a newer driver, or name an ` +
        "older NVRTC in SUTURE_CUDA_NVRTC",
    );
  }
  const precision = options.products ?? "f32";
  const named = options.cublasLt ?? variable(CUBLASLT_VARIABLE);
  const library = findCublasLt({ major, nvrtc: nvrtc.path }, named);
  const context = openContext(driver);
  if (precision === "tf32" && context.architecture < TF32_ARCHITECTURE) {
    throw new CudaError(
      `cuda: products in tf32: expected a GPU of compute capability ${TF32_ARCHITECTURE / 10} or ` +
        `newer, found ${context.name} of ${context.architecture / 10}; --products f32 is for all`,
    );
  }
  const modules = createModules(context, nvrtc, openKernelCache(options.cache), driverVersion);

  const memory = createMemory(context);
  const products = library && createProducts(library, context, memory, precision);
  const ofLibrary = libraryProducts(options.ownFlops ?? OWN_FLOPS, precision);
  // Programs run one after another, so they share one arena.
  let arena = piece(0n, 0);
  let layout = 0;
  const reserve = (bytes: number) => {
    if (bytes <= arena.bytes) return;
    const before = arena.bytes;
    if (before > 0) memory.free(arena);
    arena = piece(0n, 0);
    layout++;
    try {
      arena = memory.allocate(bytes);
    } catch (error) {
      // Programs that are bound already go on in as much as they had.
      if (before > 0) arena = memory.allocate(before);
      throw error;
    }
  };

  const bind = (program: Program<GpuKernel>, bindings: Bindings): Executable => {
    // The arena begins at a multiple of 256 bytes; what is not bound is told of when it runs.
    const addressOf = ({ place, offset }: OperandMemory): bigint =>
      (memoryAt<CudaMemory | undefined>(place, bindings, (at) => piece(BigInt(at), 0))?.address ??
        0n) + BigInt(offset);
    const launches = program.launches.map((launch) => ({
      ...launch,
      kernel: fittingKernel(launch.kernel, (i) => addressOf(launch.operands[i]) % 16n === 0n),
    }));
    const own = ({ kernel: { matmul } }: Launch<GpuKernel>) => matmul === undefined;
    modules.load(launches.filter(own));
    reserve(program.arenaBytes);
    let linked: { readonly layout: number; readonly graph: CudaGraph } | undefined;
    const inArena = (offset: number) => piece(arena.address + BigInt(offset), 0);
    /** What launches each, where its operands are now. */
    const ready = (): (() => void)[] =>
      launches.map((launch) => {
        const { matmul, groups } = launch.kernel;
        const operands = launch.operands.map(({ place, offset }) =>
          memoryAt<CudaMemory>(place, bindings, inArena).address + BigInt(offset)
        );
        const product = matmul && products?.prepare(matmul, operands);
        if (product !== undefined) return product;
        const [{ function: own, threads }] = modules.load([launch]);
        const [grid, block] = [[groups, 1, 1], [threads, 1, 1]] as const;
        return () => context.launch({ function: own, grid, block, operands });
      });
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
          // Prepared before: a capture takes launches only.
          const works = ready();
          const graph = context.record(() => works.forEach((launch) => launch()));
          linked = { layout, graph };
        }
        linked.graph.launch();
      },
      profile: () => {
        check();
        return Promise.resolve(profileRows(program, context.time(ready())));
      },
      free: () => {
        linked?.graph.free();
        linked = undefined;
      },
    };
  };

  return {
    kind: "cuda",
    description: `cuda: ${context.name}, sm_${context.architecture}, driver ${driverVersion}, ` +
      `NVRTC ${compiler}, ${products?.description ?? `without cuBLASLt (${precision})`}`,
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
      ...{ bind, joining: joining(Infinity) },
      // The library does no work on results, but adds to what is there.
      ...(products === undefined
        ? { kernelsOf: (step) => gpuKernelsOf(step, precision), scheduling: GPU_SCHEDULING }
        : {
          kernelsOf: (step) => gpuKernelsOf(step, precision, ofLibrary),
          scheduling: { ...GPU_SCHEDULING, epilogues: isFused, accumulates: true },
        }),
      code: (launch) => renderCuda([...moduleKernels([launch]).values()]),
    }, options),
    close: () => {
      products?.close();
      context.close();
      nvrtc.close();
      driver.close();
      return Promise.resolve();
    },
  };
}
