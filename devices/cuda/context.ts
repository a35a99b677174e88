/** One GPU through its driver: memory, copies, modules, launches, graphs and events on one stream. */

import { NEEDS_LESS } from "../out_of_memory.ts";
import { CudaError } from "./error.ts";
import { cString, DRIVER, type Driver, DriverError, pointerIn, RESULTS } from "./driver.ts";
import { createStaging } from "./staging.ts";

/** A kernel that is loaded. */
export interface CudaFunction {
  readonly handle: Deno.PointerValue;
  readonly name: string;
}

/** A launch of a function. */
export interface CudaLaunch {
  readonly function: CudaFunction;
  /** Blocks by axis. */
  readonly grid: readonly [number, number, number];
  /** Threads of a block by axis. */
  readonly block: readonly [number, number, number];
  /** Device addresses. */
  readonly operands: readonly bigint[];
}

/** Work that was recorded once and is launched as one. */
export interface CudaGraph {
  launch(): void;
  free(): void;
}

/** A GPU. Work is done in the order of the calls. */
export interface CudaContext {
  readonly name: string;
  /** 10 · major + minor of the compute capability. */
  readonly architecture: number;
  readonly multiprocessors: number;
  /** On which everything is done, for libraries that launch kernels of their own. */
  readonly stream: Deno.PointerValue;
  allocate(bytes: number): bigint;
  free(address: bigint): void;
  write(address: bigint, data: Uint8Array): void;
  /** Copies and waits for it. */
  read(address: bigint, into: Uint8Array<ArrayBuffer>): void;
  clear(address: bigint, bytes: number): void;
  /** Loads compiled code and finds its kernels. */
  load(code: Uint8Array<ArrayBuffer>, names: readonly string[]): CudaFunction[];
  launch(launch: CudaLaunch): void;
  /** Records what `work` launches, without running it. */
  record(work: () => void): CudaGraph;
  /** Runs each piece of work and gives its seconds on the device. */
  time(works: readonly (() => void)[]): number[];
  close(): void;
}

const mib = (bytes: number | bigint) => `${Math.ceil(Number(bytes) / 2 ** 20)} MiB`;

/** The first GPU. @throws CudaError where there is none. */
export function findGpu({ calls, path }: Driver): number {
  const word = new Int32Array(1);
  calls.cuDeviceGetCount(word);
  if (word[0] === 0) throw new CudaError(`cuda: ${path}: expected a GPU, found none`);
  calls.cuDeviceGet(word, 0);
  return word[0];
}

/** What a GPU is called. */
export function gpuName({ calls }: Driver, device: number): string {
  const bytes = new Uint8Array(256);
  calls.cuDeviceGetName(bytes, bytes.length, device);
  return new TextDecoder().decode(bytes).replace(/\0.*$/s, "");
}

/**
 * Opens the first GPU.
 * @throws CudaError where there is none, or where it has no asynchronous allocator.
 */
export function openContext(driver: Driver): CudaContext {
  const { calls } = driver;
  const cell = new BigUint64Array(1);
  const word = new Int32Array(1);
  const device = findGpu(driver);
  const attribute = (key: keyof typeof DRIVER.attribute) => {
    calls.cuDeviceGetAttribute(word, DRIVER.attribute[key], device);
    return word[0];
  };
  const name = gpuName(driver, device);
  if (attribute("memoryPools") === 0) {
    throw new CudaError(
      `cuda: ${name}: expected a driver with memory pools, found none; a newer driver may have them`,
    );
  }
  calls.cuDevicePrimaryCtxRetain(cell, device);
  const context = pointerIn(cell);
  calls.cuCtxSetCurrent(context);
  calls.cuDeviceGetDefaultMemPool(cell, device);
  // What is freed stays with the pool, so that the next allocation costs nothing.
  const everything = new BigUint64Array([2n ** 64n - 1n]);
  calls.cuMemPoolSetAttribute(pointerIn(cell), DRIVER.poolReleaseThreshold, everything);
  calls.cuStreamCreate(cell, DRIVER.streamNonBlocking);
  const stream = pointerIn(cell);
  const staging = createStaging(calls, stream);
  const modules: Deno.PointerValue[] = [];

  const createEvent = () => {
    calls.cuEventCreate(cell, 0);
    return pointerIn(cell);
  };

  /** What was asked for, what there is, and what makes it fit. */
  const outOfMemory = (bytes: number, cause: DriverError) => {
    const [free, total] = [new BigUint64Array(1), new BigUint64Array(1)];
    calls.cuMemGetInfo_v2(free, total);
    return new RangeError(
      `cuda: out of memory: ${mib(bytes)} wanted, ${mib(free[0])} of ${mib(total[0])} free on ` +
        `${name}; ${NEEDS_LESS}`,
      { cause },
    );
  };

  return {
    name,
    architecture: 10 * attribute("computeMajor") + attribute("computeMinor"),
    multiprocessors: attribute("multiprocessors"),
    stream,
    allocate: (bytes) => {
      try {
        calls.cuMemAllocAsync(cell, BigInt(Math.max(1, bytes)), stream);
      } catch (error) {
        if (!(error instanceof DriverError) || error.code !== RESULTS.outOfMemory) throw error;
        throw outOfMemory(bytes, error);
      }
      return cell[0];
    },
    free: (address) => calls.cuMemFreeAsync(address, stream),
    write: (address, data) => staging.write(address, data),
    read: (address, into) => {
      calls.cuMemcpyDtoHAsync_v2(into, address, BigInt(into.length), stream);
      calls.cuStreamSynchronize(stream);
    },
    clear: (address, bytes) => calls.cuMemsetD8Async(address, 0, BigInt(bytes), stream),
    load: (code, names) => {
      calls.cuModuleLoadData(cell, code);
      const module = pointerIn(cell);
      modules.push(module);
      return names.map((name) => {
        calls.cuModuleGetFunction(cell, module, cString(name));
        return { handle: pointerIn(cell), name };
      });
    },
    launch: ({ function: { handle }, grid, block, operands }) => {
      const values = BigUint64Array.from(operands);
      const first = Deno.UnsafePointer.value(Deno.UnsafePointer.of(values));
      const addresses = BigUint64Array.from(operands, (_, i) => first + 8n * BigInt(i));
      calls.cuLaunchKernel(handle, ...grid, ...block, 0, stream, addresses, null);
    },
    record: (work) => {
      // Relaxed: a library may load a kernel when it first launches it.
      calls.cuStreamBeginCapture_v2(stream, DRIVER.captureRelaxed);
      try {
        work();
      } finally {
        calls.cuStreamEndCapture(stream, cell);
      }
      const graph = pointerIn(cell);
      calls.cuGraphInstantiateWithFlags(cell, graph, 0n);
      const executable = pointerIn(cell);
      calls.cuGraphDestroy(graph);
      return {
        launch: () => calls.cuGraphLaunch(executable, stream),
        free: () => calls.cuGraphExecDestroy(executable),
      };
    },
    time: (works) => {
      const events = Array.from({ length: works.length + 1 }, createEvent);
      calls.cuEventRecord(events[0], stream);
      works.forEach((work, i) => {
        work();
        calls.cuEventRecord(events[i + 1], stream);
      });
      calls.cuEventSynchronize(events[works.length]);
      const milliseconds = new Float32Array(1);
      const seconds = works.map((_, i) => {
        calls.cuEventElapsedTime(milliseconds, events[i], events[i + 1]);
        return milliseconds[0] / 1000;
      });
      events.forEach((event) => calls.cuEventDestroy_v2(event));
      return seconds;
    },
    close: () => {
      try {
        modules.forEach((module) => calls.cuModuleUnload(module));
        staging.free();
        calls.cuStreamDestroy_v2(stream);
        calls.cuDevicePrimaryCtxRelease_v2(device);
      } catch (error) {
        // After a kernel that failed every call fails; that error was thrown before.
        if (!(error instanceof DriverError)) throw error;
      }
    },
  };
}
