/** The flags by which commands choose a device. */

import type { Device } from "../devices/device.ts";
import { DEVICE_NAMES, openDevice } from "../devices/open.ts";
import { compileReport, debugLevel, profiledDevice } from "./debug.ts";
import { absent, choice, type FlagValues, optional, text, UsageError, whole } from "./flags.ts";

/** Threads at most: far beyond any machine, and few enough to start. */
const THREAD_LIMIT = 256;

const NATIVE = ["auto", "none"] as const;

/** Flags of every command that computes. */
export const deviceFlags = {
  device: optional(choice("where to compute", DEVICE_NAMES), "cpu"),
  threads: absent(whole("threads of the CPU", 1, THREAD_LIMIT), "one a core"),
  blas: optional(
    text(
      "auto|none|PATH",
      "BLAS for the matrix products of the CPU: one that is found, none, this",
    ),
    "auto",
  ),
  native: optional(
    choice("machine code for the kernels of the CPU where it can be made, or none", NATIVE),
    "auto",
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
  { device: name, threads, blas, native, memory }: FlagValues<typeof deviceFlags> & {
    readonly memory?: number;
  },
  say: (line: string) => void,
  run: (device: Device) => Promise<T>,
  { timed = false }: DeviceUse = {},
): Promise<T> {
  if (blas !== "auto" && blas !== "none") checkBlas(blas);
  const level = debugLevel();
  const debug = level === 0 ? {} : { onCompile: compileReport(level, say) };
  const opened = await openDevice(name, { threads, blas, native, memory, ...debug });
  say(opened.description);
  const device = level < 2 || timed ? opened : await profiledDevice(
    opened,
    { threads: threads ?? navigator.hardwareConcurrency, blas },
    say,
  );
  try {
    return await run(device);
  } finally {
    await device.close();
  }
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
