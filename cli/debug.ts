/**
 * What the environment variable DEBUG shows on stderr: 1 the plan, what is compiled and how long
 * parts take; 2 where the time of a step goes, kernel by kernel; 3 the graphs as they are scheduled;
 * 4 the kernels' code.
 */

import { type GpuPeaks, measureGpuPeaks } from "../bench/gpu_peaks.ts";
import { type CpuPeaks, measurePeaks } from "../bench/peaks.ts";
import { stepProfile } from "../bench/profile.ts";
import { variable } from "../devices/environment.ts";
import type { Compiled } from "../devices/compile.ts";
import type { Device } from "../devices/device.ts";
import { EVERY_DOUBLING, profiled } from "../devices/profiled.ts";
import { scheduleText } from "../graph/schedule_text.ts";
import { profileText } from "./profile_text.ts";
import { bytesText, countText } from "./terminal/table.ts";

/** How much is shown; 0 is nothing. */
export type DebugLevel = 0 | 1 | 2 | 3 | 4;

/**
 * The level that DEBUG asks for; 0 where the command may not read it, and for anything but a level,
 * which is meant for another program.
 */
export function debugLevel(): DebugLevel {
  const text = variable("DEBUG") ?? "";
  return /^[0-4]$/.test(text) ? Number(text) as DebugLevel : 0;
}

/** Tells of everything that a device compiles; a kernel's code is shown once. */
export function compileReport(
  level: DebugLevel,
  say: (line: string) => void,
): (compiled: Compiled) => void {
  const shown = new Set<string>();
  return ({ name = "a program", schedule, program: { launches, arenaBytes }, code, seconds }) => {
    const flops = launches.reduce((sum, { kernel }) => sum + kernel.flops, 0);
    const kernels = new Set(launches.map(({ kernel }) => kernel.key)).size;
    say(
      `${name}: ${launches.length} launches of ${kernels} kernels, ${countText(flops)}FLOP, ` +
        `${bytesText(arenaBytes)} of intermediate results; compiled in ${seconds.toFixed(2)} s`,
    );
    if (level >= 3) say(scheduleText(schedule).trimEnd());
    if (level < 4) return;
    launches.forEach(({ kernel }, i) => {
      if (shown.has(kernel.key)) return;
      shown.add(kernel.key);
      say(code(i).trimEnd());
    });
  };
}

/** A device whose programs tell where their time goes, beside the peaks of what computes. */
export async function profiledDevice(
  device: Device,
  options: { readonly threads: number; readonly blas: string },
  say: (line: string) => void,
): Promise<Device> {
  const measured = device.kind === "cpu"
    ? await measurePeaks(options)
    : await measureGpuPeaks(device);
  say(peaksText(measured));
  return profiled(
    device,
    EVERY_DOUBLING,
    (profile) => say(`\n${profileText(stepProfile(profile), measured).trimEnd()}\n`),
  );
}

/** The peaks in a line. */
function peaksText(peaks: CpuPeaks | GpuPeaks): string {
  const { fmaGflops, productGflops, machineGflops, readGBs, copyGBs, machineGBs } = peaks;
  const rates = `${fmaGflops.toFixed(0)} GFLOPS in kernels, ${
    productGflops.toFixed(0)
  } in products`;
  const memory = `memory ${readGBs.toFixed(1)} GB/s read, ${copyGBs.toFixed(1)} GB/s copied`;
  if ("device" in peaks) {
    return `this GPU's peaks: ${rates}; ${memory}; shares are of ${machineGflops.toFixed(0)} ` +
      `GFLOPS and ${machineGBs.toFixed(0)} GB/s`;
  }
  const { threads, products } = peaks;
  return `this machine's peaks, ${threads === 1 ? "1 thread" : `${threads} threads`}: ` +
    `${rates} (${products}); ${memory}`;
}
