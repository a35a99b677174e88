/** What every part of `deno task bench` is: something that is measured, as tables and as JSON. */

import { measurePeaks, type Peaks } from "../../bench/peaks.ts";
import type { Device } from "../../devices/device.ts";
import type { Output } from "../command.ts";
import { withDevice } from "../device.ts";
import { table } from "../table.ts";
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
}

/** What a part may use. */
export interface PartContext {
  readonly say: Output["say"];
  /** Whether the part is one of all: then it measures everything that the issue asks for. */
  readonly all: boolean;
  readonly threads: number;
  /** The machine's peaks in a form, measured once. */
  peaks(form: Form): Promise<Peaks>;
  /** Opens a device, in another form than the flags say where one is given. */
  device<T>(run: (device: Device) => Promise<T>, form?: Form): Promise<T>;
}

/** Something that is measured. */
export interface BenchPart {
  /** The word of the command line. */
  readonly name: string;
  /** Its heading. */
  readonly title: string;
  measure(flags: BenchFlags, context: PartContext): Promise<PartResult>;
}

/** What the parts of one command share. */
export function partContext(flags: BenchFlags, say: Output["say"], all: boolean): PartContext {
  const threads = flags.threads ?? navigator.hardwareConcurrency;
  const peaks = new Map<string, Promise<Peaks>>();
  return {
    say,
    all,
    threads,
    peaks: (form) => {
      const known = peaks.get(form.name) ?? measurePeaks({ threads, ...form });
      peaks.set(form.name, known);
      return known;
    },
    device: (run, { blas, native } = formOf(flags)) =>
      withDevice({ ...flags, blas, native }, say, run, { timed: true }),
  };
}

/** FLOP/s, in units of 10⁹, that the machine can do: the most that was seen with any of the forms. */
export async function machineGflops(
  { peaks }: PartContext,
  forms: readonly Form[],
): Promise<number> {
  let most = 0;
  // One after another: two at a time would disturb each other.
  for (const form of forms) most = Math.max(most, (await peaks(form)).machineGflops);
  return most;
}

/** A result as people read it on a terminal. */
export function resultText({ content }: PartResult): string {
  return content.map((part) => typeof part === "string" ? `${part}\n` : table(part.rows))
    .join("\n");
}

const cell = (text: string) => text.replaceAll("|", "\\|");

/** A table in Markdown, its columns as wide as they must be, as `deno fmt` has it. */
export function markdownTable(rows: PartTable["rows"]): string {
  const cells = rows.map((row) => row.map(cell));
  const widths = cells[0].map((_, c) => Math.max(3, ...cells.map((row) => [...row[c]].length)));
  const pad = (text: string, c: number) => text + " ".repeat(widths[c] - [...text].length);
  const line = (row: readonly string[]) => `| ${row.map(pad).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [line(cells[0]), rule, ...cells.slice(1).map(line)].join("\n");
}

/** A result in Markdown. */
export function resultMarkdown({ content }: PartResult): string {
  return content.map((part) => typeof part === "string" ? part : markdownTable(part.rows))
    .join("\n\n");
}
