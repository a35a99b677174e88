/**
 * What is wrong with a file: which, where in it, what was expected, what was found, what to do.
 * Readers collect problems where they can find several and throw them together.
 */

/** One thing that is wrong with a file. */
export interface Problem {
  readonly file: string;
  /** The tensor, key or line in the file. Absent where the file as a whole is meant. */
  readonly at?: string;
  readonly expected: string;
  readonly found: string;
  /** What to do about it. */
  readonly advice?: string;
}

/** `at: expected …, found …; advice`, without the file. */
function describe({ at, expected, found, advice }: Problem): string {
  const what = `expected ${expected}, found ${found}${advice === undefined ? "" : `; ${advice}`}`;
  return at === undefined ? what : `${at}: ${what}`;
}

/** Problems beyond this many are counted and not listed: a hostile file could have millions. */
const LISTED_PROBLEMS = 20;

/** A file that cannot be read, or not be written: every problem that was found. */
export class FormatError extends Error {
  override readonly name = "FormatError";
  readonly problems: readonly Problem[];

  constructor(problems: Problem | readonly Problem[], options?: ErrorOptions) {
    const all = "file" in problems ? [problems] : problems;
    super(message(all), options);
    this.problems = Object.freeze([...all]);
  }
}

/** One line for one problem; otherwise a heading and a line each. */
function message(problems: readonly Problem[]): string {
  const [first] = problems;
  if (problems.length === 1) return `${first.file}: ${describe(first)}`;
  const oneFile = problems.every(({ file }) => file === first.file);
  const lines = problems.slice(0, LISTED_PROBLEMS).map((problem) =>
    `  ${oneFile ? "" : `${problem.file}: `}${describe(problem)}`
  );
  const more = problems.length - lines.length;
  if (more > 0) lines.push(`  … and ${more} more`);
  return `${problems.length} problems${oneFile ? ` in ${first.file}` : ""}:\n${lines.join("\n")}`;
}

/** Longest text of a file that a message quotes in full. */
const QUOTED_CHARACTERS = 80;

/** A text of a stranger in quotes, shortened, and without control characters. */
export function quote(text: string): string {
  const cut = text.length > QUOTED_CHARACTERS ? `${text.slice(0, QUOTED_CHARACTERS)}…` : text;
  // JSON leaves DEL, the C1 controls and bidirectional marks, with which a terminal can be misled.
  return JSON.stringify(cut).replace(
    /[\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A value in a few words, for `found`: `100`, `"fast"`, `a list of 3`, `an object`. */
export function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value)) {
    const short = value.length <= 8 && value.every((item) => typeof item === "number");
    return short ? `[${value.join(", ")}]` : `a list of ${value.length}`;
  }
  if (typeof value === "object") return "an object";
  return String(value);
}

const TO_WRITE = "to write this file";

/** Whether an error says that something could not be written, which is no fault of the input. */
export function isUnwritten(error: unknown): error is FormatError {
  return error instanceof FormatError && error.problems.some((p) => p.expected === TO_WRITE);
}

/** What the operating system says, as a problem of the file; other errors are passed through. */
export function systemError(file: string, doing: "read" | "write", error: unknown): unknown {
  if (error instanceof FormatError || !(error instanceof Error)) return error;
  const code = (error as { code?: unknown }).code;
  const problem = SYSTEM_PROBLEMS[typeof code === "string" ? code : error.name];
  if (problem === undefined && typeof code !== "string") return error;
  const [found, advice] = problem ?? [error.message, "see the system's message"];
  const expected = doing === "read" ? "a file that can be read" : TO_WRITE;
  return new FormatError({ file, expected, found, advice }, { cause: error });
}

/** What errors mean, by the code of the system or, where they have none, by their name. */
const SYSTEM_PROBLEMS: Readonly<
  Record<string, readonly [found: string, advice: string] | undefined>
> = {
  // Deno keeps /proc, /sys and /dev from programs, and a task what deno.json does not name.
  NotCapable: ["that Deno does not let the task reach it", "choose another place"],
  ENOENT: ["no such file or folder", "check the path"],
  ENOTDIR: ["a file where a folder should be", "check the path"],
  EEXIST: ["a file where a folder should be", "check the path"],
  EISDIR: ["a folder", "check the path"],
  EACCES: ["that access is denied", "check the permissions"],
  EPERM: ["that the system forbids it", "check the permissions"],
  EROFS: ["a read-only file system", "choose another place"],
  ENOSPC: ["that the disk is full", "make room and run it again; the old file is as it was"],
  EDQUOT: [
    "that the disk quota is used up",
    "make room and run it again; the old file is as it was",
  ],
  EMFILE: ["too many open files", "raise the limit (ulimit -n)"],
};
