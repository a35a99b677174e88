/** What every part of `deno task bench` is: something that is measured, as tables and as JSON. */

import { type GpuPeaks, measureGpuPeaks } from "../../bench/gpu_peaks.ts";
import { type CpuPeaks, measurePeaks, type Peaks } from "../../bench/peaks.ts";
import type { Device } from "../../devices/device.ts";
import type { Output } from "../command/command.ts";
import { deviceFlags, withDevice } from "../device.ts";
import { defaultsOf, UsageError } from "../command/flags.ts";
import { markdownTable, table } from "../terminal/table.ts";
import type { BenchFlags } from "./flags.ts";
import { type Form, formOf } from "./forms.ts";

/** Rows with a head; all but the first column are aligned to the right. */
export interface PartTable {
  readonly rows: readonly (readonly string[])[];
}

/** What was measured: tables and lines for people, and the same for programs. */
export interface PartResult {
  readonly content: readonly (PartTable | string)[];
  readonly report: Readonly<Record<string, unknown>>;
  /** Whether a result is not as it must be: exit code 1. */
  readonly failed?: boolean;
}

/** What a part may use. */
export interface PartContext {
  readonly say: Output["say"];
  /** Whether the part is one of all: then it measures all that it can. */
  readonly all: boolean;
  readonly threads: number;
  /** The peaks of the machine or of its GPU in a form, measured once. */
  peaks(form: Form): Promise<CpuPeaks | GpuPeaks>;
  /**
   * Opens a device, in another form than the flags say where one is given, for so many bytes where
   * it may be more than 4 GiB.
   */
  device<T>(run: (device: Device) => Promise<T>, form?: Form, memory?: number): Promise<T>;
}

/** Something that is measured. */
export interface BenchPart {
  /** The word of the command line. */
  readonly name: string;
  /** Its heading. */
  readonly title: string;
  measure(flags: BenchFlags, context: PartContext): Promise<PartResult>;
}

/** Time of each of the peaks, and in a quick run. */
const SECONDS = 0.25;
const QUICK_SECONDS = 0.1;

/** What the parts of one command share. */
export function partContext(flags: BenchFlags, say: Output["say"], all: boolean): PartContext {
  const threads = flags.threads ?? navigator.hardwareConcurrency;
  const peaks = new Map<string, Promise<CpuPeaks | GpuPeaks>>();
  const seconds = flags.quick ? QUICK_SECONDS : SECONDS;
  const device: PartContext["device"] = (run, form = formOf(flags), memory) => {
    const { name, blas, native } = form;
    // The CPU stands beside a GPU as it is by itself.
    const isBeside = name !== "GPU" && flags.device !== "cpu";
    const own = isBeside ? defaultsOf(deviceFlags) : flags;
    return withDevice({ ...own, blas, native, memory }, say, run, { timed: true });
  };
  return {
    say,
    all,
    threads,
    peaks: (form) => {
      const known = peaks.get(form.name) ??
        (form.name === "GPU"
          ? device((own) => measureGpuPeaks(own, { seconds, products: flags.products }), form)
          : measurePeaks({ threads, seconds, ...form }));
      peaks.set(form.name, known);
      return known;
    },
    device,
  };
}

/** The peaks of the first form, and the most FLOP/s that were seen with any of them. */
export async function machinePeaks(
  { peaks }: PartContext,
  forms: readonly Form[],
): Promise<Peaks> {
  let most = 0;
  // One after another: two at a time would disturb each other.
  for (const form of forms) most = Math.max(most, (await peaks(form)).machineGflops);
  return { ...await peaks(forms[0]), machineGflops: most };
}

/** Where PyTorch computes beside ours. @throws UsageError where it cannot. */
export function peerDevice({ device, vs }: BenchFlags): "cpu" | "cuda" {
  if (device === "cpu" || device === "cuda") return device;
  if (vs === undefined) return "cpu";
  throw new UsageError(
    `--vs: expected --device cpu or cuda, which PyTorch has too, found --device ${device}`,
  );
}

/** A result as people read it on a terminal of so many columns. */
export function resultText({ content }: PartResult, columns = Infinity): string {
  return content.map((part) => typeof part === "string" ? `${part}\n` : table(part.rows, columns))
    .join("\n");
}

/** A result in Markdown. */
export function resultMarkdown({ content }: PartResult): string {
  return content.map((part) => typeof part === "string" ? part : markdownTable(part.rows))
    .join("\n\n");
}
