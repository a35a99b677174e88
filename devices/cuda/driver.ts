/** The CUDA driver by FFI: every call is checked, and a failure says what failed and why. */

import { CudaError } from "./error.ts";
import { type LibraryPlaces, openLibrary } from "./library.ts";
import { driverNames } from "./names.ts";

const PLACES: LibraryPlaces = {
  what: "NVIDIA driver",
  variable: "SUTURE_CUDA_DRIVER",
  candidates: driverNames(Deno.build.os),
  advice: "install the driver of an NVIDIA GPU, version 525 or newer",
};

/** CUDA 12.0: the oldest driver whose calls are used here. */
const OLDEST_DRIVER = 12000;

/** Codes that are told apart. */
export const RESULTS = { outOfMemory: 2, noDevice: 100 } as const;

/** `cuMemPoolSetAttribute`, `cuStreamBeginCapture` and others take these. */
export const DRIVER = {
  attribute: {
    multiprocessors: 16,
    computeMajor: 75,
    computeMinor: 76,
    memoryPools: 115,
  },
  poolReleaseThreshold: 4,
  streamNonBlocking: 1,
  captureRelaxed: 2,
} as const;

// Handles are addresses; device addresses are 64-bit numbers. Results are written through buffers.
const [out, handle, address, size] = ["buffer", "pointer", "u64", "usize"] as const;
const calls = <const P extends readonly Deno.NativeType[]>(...parameters: P) =>
  ({ parameters, result: "i32" }) as const;

const SYMBOLS = {
  cuInit: calls("u32"),
  cuDriverGetVersion: calls(out),
  cuGetErrorName: calls("i32", out),
  cuGetErrorString: calls("i32", out),
  cuDeviceGetCount: calls(out),
  cuDeviceGet: calls(out, "i32"),
  cuDeviceGetName: calls(out, "i32", "i32"),
  cuDeviceGetAttribute: calls(out, "i32", "i32"),
  cuDeviceGetDefaultMemPool: calls(out, "i32"),
  cuDevicePrimaryCtxRetain: calls(out, "i32"),
  cuDevicePrimaryCtxRelease_v2: calls("i32"),
  cuCtxSetCurrent: calls(handle),
  cuMemPoolSetAttribute: calls(handle, "i32", out),
  cuMemGetInfo_v2: calls(out, out),
  cuMemAllocAsync: calls(out, size, handle),
  cuMemFreeAsync: calls(address, handle),
  cuMemHostAlloc: calls(out, size, "u32"),
  cuMemFreeHost: calls(handle),
  cuMemcpyHtoDAsync_v2: calls(address, handle, size, handle),
  cuMemcpyDtoHAsync_v2: calls(out, address, size, handle),
  cuMemsetD8Async: calls(address, "u8", size, handle),
  cuStreamCreate: calls(out, "u32"),
  cuStreamDestroy_v2: calls(handle),
  cuStreamSynchronize: calls(handle),
  cuStreamBeginCapture_v2: calls(handle, "i32"),
  cuStreamEndCapture: calls(handle, out),
  cuGraphInstantiateWithFlags: calls(out, handle, "u64"),
  cuGraphLaunch: calls(handle, handle),
  cuGraphExecDestroy: calls(handle),
  cuGraphDestroy: calls(handle),
  cuEventCreate: calls(out, "u32"),
  cuEventDestroy_v2: calls(handle),
  cuEventRecord: calls(handle, handle),
  cuEventSynchronize: calls(handle),
  cuEventElapsedTime: calls(out, handle, handle),
  cuModuleLoadData: calls(out, out),
  cuModuleUnload: calls(handle),
  cuModuleGetFunction: calls(out, handle, out),
  cuLaunchKernel: calls(
    handle,
    ...["u32", "u32", "u32", "u32", "u32", "u32", "u32"] as const,
    handle,
    out,
    handle,
  ),
} as const satisfies Deno.ForeignLibraryInterface;

type Raw = Deno.StaticForeignLibraryInterface<typeof SYMBOLS>;

/** The driver's functions. Each throws a CudaError unless it gives CUDA_SUCCESS. */
export type DriverCalls = {
  readonly [K in keyof Raw]: Raw[K] extends (...args: infer A) => unknown ? (...args: A) => void
    : never;
};

/** A failed call of the driver. */
export class DriverError extends CudaError {
  constructor(readonly call: string, readonly code: number, message: string) {
    super(message);
  }
}

/** The open driver. */
export interface Driver {
  readonly path: string;
  /** 1000 · major + 10 · minor. */
  readonly version: number;
  readonly calls: DriverCalls;
  close(): void;
}

/** A handle, or an address of the host, that a call has written. */
export const pointerIn = (cell: BigUint64Array): Deno.PointerValue =>
  Deno.UnsafePointer.create(cell[0]);

/** A text for C. */
export const cString = (text: string) => new TextEncoder().encode(`${text}\0`);

function textIn(cell: BigUint64Array<ArrayBuffer>): string | undefined {
  const pointer = pointerIn(cell);
  return pointer === null ? undefined : Deno.UnsafePointerView.getCString(pointer);
}

/** `12.4` of 12040. */
export const versionText = (version: number) =>
  `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`;

/**
 * Opens the driver.
 * @throws CudaError without one, without a device, and for one that is too old.
 */
export function openDriver(path?: string): Driver {
  const library = openLibrary(PLACES, SYMBOLS, path);
  const { symbols } = library;
  const explain = (code: number) => {
    const [name, text] = [new BigUint64Array(1), new BigUint64Array(1)];
    symbols.cuGetErrorName(code, name);
    symbols.cuGetErrorString(code, text);
    return `${textIn(name) ?? `code ${code}`}: ${textIn(text) ?? "the driver has no text for it"}`;
  };
  const checked = Object.fromEntries(
    Object.entries(symbols).map(([name, call]) => [name, (...args: unknown[]) => {
      const code = (call as (...args: unknown[]) => number)(...args);
      if (code !== 0) throw new DriverError(name, code, `cuda: ${name}: ${explain(code)}`);
    }]),
  ) as DriverCalls;
  try {
    checked.cuInit(0);
    const version = new Int32Array(1);
    checked.cuDriverGetVersion(version);
    if (version[0] < OLDEST_DRIVER) {
      const [wanted, found] = [OLDEST_DRIVER, version[0]].map(versionText);
      throw new CudaError(
        `cuda: ${library.path}: expected a driver for CUDA ${wanted} or newer, found ${found}; ` +
          "install a newer driver",
      );
    }
    return { path: library.path, version: version[0], calls: checked, close: library.close };
  } catch (error) {
    library.close();
    throw error;
  }
}
