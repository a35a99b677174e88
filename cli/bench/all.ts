/** `deno task bench --all`: every part, as tables, as JSON and as a section of a Markdown file. */

import { type ResultMachine, withResults } from "../../bench/results.ts";
import { writeFileAtomic } from "../../formats/atomic_file.ts";
import { FormatError } from "../../formats/error.ts";
import { isFile } from "../../formats/files.ts";
import { machineReport } from "../../train/machine.ts";
import type { Outcome, Output } from "../command.ts";
import { commandLine } from "../command_line.ts";
import { type BenchFlags, benchFlags, type PartName } from "./flags.ts";
import {
  type BenchPart,
  partContext,
  type PartResult,
  resultMarkdown,
  resultText,
} from "./part.ts";

/** Measures the parts that the flags ask for, one after another. */
export async function allBench(
  parts: readonly (BenchPart & { readonly name: PartName })[],
  flags: BenchFlags,
  { print, say }: Output,
): Promise<Outcome> {
  const context = partContext(flags, say, true);
  const wanted = parts.filter(({ name }) => flags.only?.includes(name) ?? true);
  print(`${heading()}\n`);
  const measured: { part: BenchPart; result: PartResult }[] = [];
  const failed: Record<string, string> = {};
  for (const part of wanted) {
    say(`bench: ${part.title}`);
    try {
      const result = await part.measure(flags, context);
      measured.push({ part, result });
      print(`\n${part.title}\n\n${resultText(result)}`);
    } catch (error) {
      // What another part found out would be lost.
      if (!(error instanceof FormatError)) throw error;
      failed[part.name] = error.message;
      say(`bench: ${part.title}: ${error.message}`);
    }
  }
  if (flags.out !== undefined && measured.length > 0) {
    const before = isFile(flags.out) ? Deno.readTextFileSync(flags.out) : undefined;
    const sections = measured.map(({ part, result }) => ({
      title: part.title,
      body: `    ${commandOf(part, flags)}\n\n${resultMarkdown(result)}`,
    }));
    writeFileAtomic(flags.out, withResults(before, machineSection(), sections));
    say(flags.out);
  }
  const reports = measured.map(({ part, result }) => [part.name, result.report]);
  return {
    report: {
      parts: Object.fromEntries(reports),
      ...(Object.keys(failed).length > 0 && { failed }),
      quick: flags.quick,
      ...machineReport(),
    },
    failed: Object.keys(failed).length > 0,
  };
}

/** The command that measures a part again. */
const commandOf = ({ name }: BenchPart, flags: BenchFlags) =>
  commandLine("bench", [], benchFlags, {
    ...flags,
    all: true,
    only: [name as PartName],
    out: undefined,
  });

/** The machine in a line. */
function heading(): string {
  const { machine, versions } = machineReport();
  const gibibytes = Math.round(Deno.systemMemoryInfo().total / 2 ** 30);
  return `${machineKey()}, ${gibibytes} GiB, ${machine.os}, Deno ${versions.deno}`;
}

function machineKey(): string {
  const { machine } = machineReport();
  return `${machine.name}, ${machine.cores} cores`;
}

const machineSection = (): ResultMachine => ({ key: machineKey(), heading: heading() });
