/** The flags by which commands choose a device. */

import { CudaError } from "../devices/cuda/error.ts";
import { type Device, PRODUCT_PRECISIONS } from "../devices/device.ts";
import {
  chooseDevice,
  DEVICE_NAMES,
  type DeviceName,
  type DeviceOptions,
  openDevice,
} from "../devices/open.ts";
import { X64_LEVELS } from "../kernels/render/x64.ts";
import { compileReport, debugLevel, profiledDevice } from "./debug.ts";
import { choice, type FlagValues, optional, text, threads, UsageError } from "./command/flags.ts";

const NATIVE = ["auto", "none", ...X64_LEVELS] as const;

/** Flags of every command that computes. */
export const deviceFlags = {
  device: optional(
    choice("where to compute; auto picks and says why", [...DEVICE_NAMES, "auto"] as const),
    "cpu",
  ),
  threads: threads("threads of the CPU"),
  blas: optional(
    text(
      "auto|none|PATH",
      "BLAS for the matrix products of the CPU: one that is found, none, this",
    ),
    "auto",
  ),
  native: optional(
    choice(
      "machine code for the kernels of the CPU: what it can do best, none, or up to this",
      NATIVE,
    ),
    "auto",
  ),
  products: optional(
    choice(
      "numbers that CUDA multiplies in matrix products, in memory and in sums always f32",
      PRODUCT_PRECISIONS,
    ),
    "f32",
  ),
};

/** What a command does on its device. */
export interface DeviceUse {
  /** Whether it measures time itself, which a profile would disturb. */
  readonly timed?: boolean;
}

/**
 * Opens the device that the flags ask for, says on stderr which and what DEBUG asks for, and closes
 * it in the end.
 * @param memory bytes that it may have to hold, 4 GiB by default
 */
export async function withDevice<T>(
  { device: wanted, threads, blas, native, products, memory }: FlagValues<typeof deviceFlags> & {
    readonly memory?: number;
  },
  say: (line: string) => void,
  run: (device: Device) => Promise<T>,
  { timed = false }: DeviceUse = {},
): Promise<T> {
  const chosenBy = { device: wanted, threads, blas, native };
  const flag = flagOfCpu(chosenBy);
  if (wanted !== "cpu" && wanted !== "auto" && flag !== undefined) {
    throw new UsageError(`${flag}: expected --device cpu, whose it is, found --device ${wanted}`);
  }
  if (blas !== "auto" && blas !== "none") checkBlas(blas);
  const name = await deviceNamed(chosenBy, say);
  if (products !== "f32" && name !== "cuda") {
    throw new UsageError(
      `--products: expected f32 on --device ${name}, found ${products}, which is for --device cuda`,
    );
  }
  const level = debugLevel();
  const debug = level === 0 ? {} : { onCompile: compileReport(level, say) };
  const own = await opened(name, { threads, blas, native, products, memory, ...debug });
  let device = own;
  try {
    say(own.description);
    if (level >= 2 && !timed) {
      const ofCpu = { threads: threads ?? navigator.hardwareConcurrency, blas };
      device = await profiledDevice(own, ofCpu, say);
    }
    return await run(device);
  } finally {
    await device.close();
  }
}

/** Opens a device; what it lacks on this machine is a problem of the flag. */
async function opened(name: DeviceName, options: DeviceOptions): Promise<Device> {
  try {
    return await openDevice(name, options);
  } catch (error) {
    if (!(error instanceof CudaError)) throw error;
    throw new UsageError(`--device: ${error.message}`, { cause: error });
  }
}

/** The flags that decide which device it is. */
type ChosenBy = Pick<FlagValues<typeof deviceFlags>, "device" | "threads" | "blas" | "native">;

/** A flag that is set and that only the CPU has. */
function flagOfCpu({ threads, blas, native }: ChosenBy): string | undefined {
  if (threads !== undefined) return "--threads";
  if (blas !== "auto") return "--blas";
  return native !== "auto" ? "--native" : undefined;
}

/**
 * The device that the flags ask for. `auto` stands for another, the CPU where a flag is set that only
 * the CPU has: it says which and why.
 */
export async function deviceNamed(
  flags: ChosenBy,
  say: (line: string) => void,
): Promise<DeviceName> {
  if (flags.device !== "auto") return flags.device;
  const ofCpu = flagOfCpu(flags);
  const { name, why } = ofCpu === undefined
    ? await chooseDevice()
    : { name: "cpu" as const, why: `${ofCpu} is the CPU's` };
  say(`--device auto: ${name}, because ${why}`);
  return name;
}

/** Opens a library once, so that a wrong path is one clear error. */
function checkBlas(path: string): void {
  try {
    Deno.dlopen(path, { cblas_sgemm: { parameters: [], result: "void" } }).close();
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    const what = "expected a library with cblas_sgemm";
    throw new UsageError(`--blas: ${what}, found ${JSON.stringify(path)}: ${found}`, {
      cause: error,
    });
  }
}
