/**
 * Commands as plain values. The frame reads the command line, writes the help, prints the JSON and
 * turns errors into a message and an exit code, which the help tells.
 */

import { printable, RecipeError } from "../../dsl/problem.ts";
import { FormatError } from "../../formats/error.ts";
import { asksFor, asksForHelp, type Given, readArguments } from "./arguments.ts";
import { type Flag, type Flags, toggle, UsageError } from "./flags.ts";
import { RecipeModuleError } from "../recipe/module.ts";
import { terminalColumns } from "../terminal/columns.ts";
import { wrap } from "../terminal/table.ts";

/** Where a command writes. */
export interface Output {
  /** Text for people on stdout; nothing where `--json` is given. */
  print(text: string): void;
  /** A line on stderr. */
  say(line: string): void;
  /** Columns that there are for text now; Infinity where it goes to no terminal. */
  columns(): number;
}

/** What a command did. */
export interface Outcome {
  /** What `--json` prints. */
  readonly report: Readonly<Record<string, unknown>>;
  /** Whether the answer is a no: exit code 1. */
  readonly failed?: boolean;
}

/** A command of `deno task`. */
export interface Command<A extends string, F extends Flags> {
  readonly name: string;
  /** What it does, in a sentence without a full stop. */
  readonly summary: string;
  /** Descriptions of the arguments without a dash, in their order. */
  readonly arguments: Readonly<Record<A, string>>;
  readonly flags: F;
  run(given: Given<A, F> & { readonly json: boolean }, output: Output): Promise<Outcome>;
}

/** A command, its types inferred. */
export function command<A extends string, F extends Flags>(value: Command<A, F>): Command<A, F> {
  return value;
}

const COMMON = {
  json: toggle("print one JSON object on stdout, and nothing else there"),
  help: toggle("print this"),
};

/** Files that a command writes to. */
export interface Streams {
  stdout(text: string): void;
  stderr(text: string): void;
  /** Columns of the terminal behind stdout now; Infinity where there is none. */
  columns(): number;
}

function write(file: { writeSync(bytes: Uint8Array): number }, text: string): void {
  for (let rest = new TextEncoder().encode(text); rest.length > 0;) {
    rest = rest.subarray(file.writeSync(rest));
  }
}

const SYSTEM: Streams = {
  stdout: (text) => write(Deno.stdout, text),
  stderr: (text) => write(Deno.stderr, text),
  columns: () => terminalColumns(Deno.stdout),
};

/** Columns of the help, where the terminal has as many. */
const WIDTH = 100;
/** Columns of the longest flag that its description stands beside, and in a narrow terminal. */
const [MOST_LEFT, NARROW_LEFT] = [32, 24];

const EXIT_CODES = "Exit code: 0 done; 1 the answer is no (check, diff, golden), or the run was " +
  "stopped or failed; 2 something is wrong with the input.";

/** The text of `--help`. */
export function help<A extends string, F extends Flags>(
  command: Command<A, F>,
  columns = Infinity,
): string {
  const left = columns < WIDTH ? NARROW_LEFT : MOST_LEFT;
  const width = Math.max(2 * left, Math.min(WIDTH, columns));
  /** Lines that hang: all but the first begin with spaces. */
  const hanging = (text: string, indent: number) =>
    wrap(text, width - indent).join(`\n${" ".repeat(indent)}`);
  const all: Flags = { ...command.flags, ...COMMON };
  const names = Object.keys(command.arguments) as A[];
  const word = ([name, { placeholder }]: [string, Flag<unknown>]) =>
    placeholder === undefined ? `--${name}` : `--${name} ${placeholder}`;
  const list = Object.entries(all);
  const required = list.filter(([, flag]) => flag.required).map(word);
  const usage = ["deno task", command.name, ...names, ...required, "[flags]"].join(" ");
  const widths = [...names, ...list.map(word)].map((text) => text.length);
  const column = Math.max(...widths.filter((width) => width <= left)) + 2;
  const row = (first: string, right: string) => {
    const beside = first.length <= left
      ? first.padEnd(column)
      : `${first}\n${" ".repeat(2 + column)}`;
    return `  ${beside}${hanging(right, 2 + column)}`;
  };
  const flagRow = (entry: [string, Flag<unknown>]) => {
    const [, { description, required, otherwiseShown }] = entry;
    const note = required ? " (required)" : otherwiseShown ? ` (default: ${otherwiseShown})` : "";
    return row(word(entry), description + note);
  };
  return [
    hanging(`${command.name}: ${command.summary}`, 2),
    "",
    hanging(`Usage: ${usage}`, 2),
    ...names.map((name) => row(name, command.arguments[name])),
    "",
    "Flags:",
    ...list.map(flagRow),
    "",
    hanging(EXIT_CODES, 2),
    "",
  ].join("\n");
}

/** RangeErrors of ours begin with a place, `session: id 9 …`; the engine's are bugs. */
const OWN_RANGE_ERROR = /^[a-z"][^:]*: /;

/**
 * What is wrong with the input and what to do about it; undefined for errors that are not the
 * input's fault.
 */
function inputProblem(name: string, error: unknown): string | undefined {
  const helped = `Run \`deno task ${name} --help\` to see what it takes.`;
  if (error instanceof UsageError) {
    return `${name}: ${error.problems.join(`\n${name}: `)}\n${helped}`;
  }
  if (error instanceof RecipeModuleError) return error.message;
  if (error instanceof RecipeError) return `${error.message}\nCorrect the recipe and run it again.`;
  if (error instanceof FormatError) {
    const [first, ...others] = error.problems;
    if (others.length === 0 && first.advice !== undefined) return error.message;
    return `${error.message}\nCorrect the input and run it again.`;
  }
  if (error instanceof RangeError && OWN_RANGE_ERROR.test(error.message)) {
    return `${error.message}\n${helped}`;
  }
  return undefined;
}

/** The problems of an error of the input one by one, for programs. */
function problemList(error: unknown): readonly object[] {
  if (error instanceof UsageError) return error.problems.map((message) => ({ message }));
  if (error instanceof RecipeError || error instanceof FormatError) return error.problems;
  return [];
}

/** Runs a command with the words of a command line; returns the exit code. */
export async function runCommand<A extends string, F extends Flags>(
  command: Command<A, F>,
  words: readonly string[],
  { stdout, stderr, columns }: Streams = SYSTEM,
): Promise<number> {
  const { name } = command;
  const flags = { ...command.flags, ...COMMON };
  try {
    if (asksForHelp(words, flags)) {
      stdout(help(command, columns()));
      return 0;
    }
    const given = readArguments(words, { arguments: command.arguments, flags });
    const json = given.flags.json === true;
    const { report, failed = false } = await command.run(
      { arguments: given.arguments, flags: given.flags, json },
      {
        print: json ? () => {} : stdout,
        say: (line) => stderr(`${line}\n`),
        columns,
      },
    );
    if (json) stdout(`${JSON.stringify(report)}\n`);
    return failed ? 1 : 0;
  } catch (error) {
    // Whoever reads the output has seen enough.
    if (error instanceof Deno.errors.BrokenPipe) return 0;
    const problem = inputProblem(name, error);
    if (problem !== undefined) {
      stderr(`${printable(problem)}\n`);
      if (asksFor("json", words, flags)) {
        const report = { error: printable(problem), problems: problemList(error) };
        stdout(`${JSON.stringify(report)}\n`);
      }
      return 2;
    }
    stderr(`${name}: ${error instanceof Error ? error.stack ?? error.message : error}\n`);
    return 1;
  }
}

/**
 * Runs a command as the program that Deno was started for. It ends the process, since threads that
 * are stuck, a recipe's for one, would keep it.
 */
export async function main<A extends string, F extends Flags>(
  command: Command<A, F>,
): Promise<never> {
  Deno.exit(await runCommand(command, Deno.args));
}
