/** `deno task bench --all`: every part, as tables, as JSON and as a section of a Markdown file. */

import { type ResultMachine, withResults } from "../../bench/results.ts";
import { writeFileAtomic } from "../../formats/atomic_file.ts";
import { FormatError } from "../../formats/error.ts";
import { isFile } from "../../formats/files.ts";
import { machineReport } from "../../train/machine.ts";
import type { Outcome, Output } from "../command/command.ts";
import { commandLine } from "../command/command_line.ts";
import { UsageError } from "../command/flags.ts";
import { type BenchFlags, benchFlags, type PartName } from "./flags.ts";
import {
  type BenchPart,
  partContext,
  type PartResult,
  resultMarkdown,
  resultText,
} from "./part.ts";

/** What was measured of a part. */
interface Measured {
  readonly part: BenchPart;
  readonly result: PartResult;
  readonly seconds: number;
}

/** Measures parts one after another. */
export async function allBench(
  parts: readonly BenchPart[],
  flags: BenchFlags,
  { print, say, columns }: Output,
): Promise<Outcome> {
  const context = partContext(flags, say, true);
  const { device } = flags;
  const gpu = device === "cpu" ? undefined : await context.device(descriptionOf);
  const section = gpu === undefined ? cpuSection() : gpuSection(gpu);
  print(`${section.heading}\n`);
  const measured: Measured[] = [];
  const problems: Record<string, string> = {};
  for (const part of parts) {
    say(`bench: ${part.title}`);
    const start = performance.now();
    try {
      const result = await part.measure(flags, context);
      measured.push({ part, result, seconds: (performance.now() - start) / 1000 });
      print(`\n${part.title}\n\n${resultText(result, columns())}`);
      if (result.failed) problems[part.name] = "results are not as they must be";
    } catch (error) {
      // What other parts find out would be lost.
      if (!(error instanceof Error) || error instanceof UsageError) throw error;
      problems[part.name] = error.message;
      const isKnown = error instanceof FormatError;
      say(`bench: ${part.title}: ${isKnown ? error.message : error.stack ?? error.message}`);
    }
  }
  const report = {
    parts: Object.fromEntries(measured.map(({ part, result }) => [part.name, result.report])),
    seconds: Object.fromEntries(measured.map(({ part, seconds }) => [part.name, seconds])),
    ...(Object.keys(problems).length > 0 && { failed: problems }),
    quick: flags.quick,
    ...(gpu !== undefined && { gpu }),
    ...machineReport(),
  };
  if (flags.out !== undefined && measured.length > 0) {
    const before = isFile(flags.out) ? Deno.readTextFileSync(flags.out) : undefined;
    const sections = measured.map(({ part, result }) => ({
      title: part.title,
      body: `    ${commandOf(part, flags)}\n\n${resultMarkdown(result)}`,
    }));
    writeFileAtomic(flags.out, withResults(before, section, sections));
    say(flags.out);
  }
  const isWhole = flags.only === undefined;
  const json = flags["json-out"] ??
    (gpu !== undefined && isWhole ? `out/bench-${device}.json` : undefined);
  if (json !== undefined) {
    writeFileAtomic(json, `${JSON.stringify(report, null, 1)}\n`);
    say(json);
  }
  return { report, failed: Object.keys(problems).length > 0 };
}

/** The command that measures a part again. */
const commandOf = ({ name }: BenchPart, flags: BenchFlags) =>
  commandLine("bench", [], benchFlags, {
    ...flags,
    all: flags.device === "cpu",
    only: [name as PartName],
    out: undefined,
    "json-out": undefined,
  });

/** The machine in a line. */
function cpuSection(): ResultMachine {
  const { machine, versions } = machineReport();
  const gibibytes = Math.round(Deno.systemMemoryInfo().total / 2 ** 30);
  const key = `${machine.name}, ${machine.cores} cores`;
  return { key, heading: `${key}, ${gibibytes} GiB, ${machine.os}, Deno ${versions.deno}` };
}

const descriptionOf = (device: { readonly description: string }) =>
  Promise.resolve(device.description);

/** A GPU in a line: its name, drivers, and what it is beside. @param gpu `cuda: NAME, DRIVERS` */
function gpuSection(gpu: string): ResultMachine {
  const [, api, name, drivers] = /^(\w+): ([^,]*)(.*)$/.exec(gpu)!;
  const key = `${name} by ${api}`;
  return { key, heading: `${key}${drivers}; beside ${cpuSection().heading}` };
}
