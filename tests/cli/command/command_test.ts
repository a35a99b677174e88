import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { command, help, type Outcome, runCommand } from "../../../cli/command/command.ts";
import { optional, required, text, whole } from "../../../cli/command/flags.ts";
import { RecipeModuleError } from "../../../cli/recipe/module.ts";
import { RecipeError } from "../../../dsl/problem.ts";
import { FormatError } from "../../../formats/error.ts";

/** A command that does what it is told here. */
function commandOf(run: (print: (text: string) => void) => Outcome | Promise<Outcome>) {
  return command({
    name: "greet",
    summary: "says hello",
    arguments: { WHOM: "who is there" },
    flags: {
      times: optional(whole("how often", 1), 2),
      tone: required(text("TONE", "how it sounds")),
    },
    run: async (_given, { print, say }) => {
      say("warming up");
      return await run(print);
    },
  });
}

/** What a run writes, and its exit code. */
async function running(
  run: (print: (text: string) => void) => Outcome | Promise<Outcome>,
  ...words: string[]
) {
  const found = { code: -1, stdout: "", stderr: "" };
  const line = words.length > 0 ? words : ["you", "--tone", "warm"];
  found.code = await runCommand(commandOf(run), line, {
    stdout: (text) => void (found.stdout += text),
    stderr: (text) => void (found.stderr += text),
    columns: () => Infinity,
  });
  return found;
}

const failing = (error: unknown, ...words: string[]) =>
  running(() => {
    throw error;
  }, ...words);

Deno.test("command: help lists arguments, flags and what stands in for them", () => {
  assertEquals(
    help(commandOf(() => ({ report: {} }))),
    `greet: says hello

Usage: deno task greet WHOM --tone TONE [flags]
  WHOM         who is there

Flags:
  --times N    how often (default: 2)
  --tone TONE  how it sounds (required)
  --json       print one JSON object on stdout, and nothing else there
  --help       print this

Exit code: 0 done; 1 the answer is no (check, diff, golden), or the run was stopped or failed; 2
  something is wrong with the input.
`,
  );
});

Deno.test("command: help is printed without running, whatever else is wrong", async () => {
  const never = () => {
    throw new Error("it ran");
  };
  for (const words of [["--help"], ["-h"], ["--what", "--help"], ["a", "b", "c", "--help"]]) {
    const { code, stdout, stderr } = await running(never, ...words);
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    assert(stdout.startsWith("greet: says hello"));
  }
});

Deno.test("command: text for people, or one JSON object, never both", async () => {
  const run = (print: (text: string) => void) => {
    print("hello ");
    print("you\n");
    return { report: { greeted: "you", times: [1, 2] } };
  };
  assertEquals(await running(run), {
    code: 0,
    stdout: "hello you\n",
    stderr: "warming up\n",
  });
  const { code, stdout, stderr } = await running(run, "you", "--tone", "warm", "--json");
  assertEquals({ code, stderr }, { code: 0, stderr: "warming up\n" });
  assertEquals(JSON.parse(stdout), { greeted: "you", times: [1, 2] });
});

Deno.test("command: a no is exit code 1, with its report", async () => {
  const run = () => ({ report: { ok: false }, failed: true });
  const { code, stdout } = await running(run, "you", "--tone", "warm", "--json");
  assertEquals(code, 1);
  assertEquals(JSON.parse(stdout), { ok: false });
});

Deno.test("command: a wrong command line is exit code 2 and says where help is", async () => {
  const { code, stdout, stderr } = await running(() => ({ report: {} }), "--times", "0");
  assertEquals({ code, stdout }, { code: 2, stdout: "" });
  assertEquals(
    stderr,
    `greet: WHOM: expected who is there, found nothing
greet: --times: expected a whole number from 1, found "0"
greet: --tone: expected TONE (how it sounds), found nothing
Run \`deno task greet --help\` to see what it takes.
`,
  );
});

Deno.test("command: --json says what is wrong with a command line too", async () => {
  const { code, stdout } = await running(() => ({ report: {} }), "--tone", "--json", "--json");
  assertEquals(code, 2);
  assertEquals(JSON.parse(stdout).problems, [
    { message: "WHOM: expected who is there, found nothing" },
  ]);
  assertEquals((await running(() => ({ report: {} }), "--tone", "--json")).stdout, "");
});

Deno.test("command: help is wrapped, its columns kept", () => {
  const wide = command({
    name: "wide",
    summary: "says much ".repeat(12).trim(),
    arguments: { WHOM: "who is there ".repeat(9).trim() },
    flags: { tone: optional(text("a-very-long-list|of-all-tones", "how it sounds"), "warm") },
    run: () => Promise.resolve({ report: {} }),
  });
  const lines = help(wide).split("\n");
  assert(lines.every((line) => line.length <= 100), help(wide));
  const narrow = help(wide, 72);
  assert(narrow.split("\n").every((line) => line.length <= 72), narrow);
  const at = lines.findIndex((line) => line.startsWith("  WHOM"));
  assertEquals(lines[at].indexOf("who"), lines[at + 1].indexOf("who"));
  const flag = lines.indexOf("  --tone a-very-long-list|of-all-tones");
  assertEquals(lines[flag + 1], "          how it sounds (default: warm)");
});

Deno.test("command: errors of the input are one message that ends with what to do", async () => {
  const problem = { file: "x.json", at: "a", expected: "1", found: "2" };
  const cases: readonly (readonly [error: Error, message: string])[] = [
    [
      new FormatError({ ...problem, advice: "write 1" }),
      "x.json: a: expected 1, found 2; write 1",
    ],
    [
      new FormatError(problem),
      "x.json: a: expected 1, found 2\nCorrect the input and run it again.",
    ],
    [
      new FormatError([problem, { ...problem, at: "b", advice: "write 1" }]),
      "2 problems in x.json:\n  a: expected 1, found 2\n  b: expected 1, found 2; write 1\n" +
      "Correct the input and run it again.",
    ],
    [
      new RecipeError([{ path: "stages[1].context", expected: "a multiple of 16", found: "100" }]),
      "1 problem in the recipe:\n  stages[1].context: expected a multiple of 16, found 100\n" +
      "Correct the recipe and run it again.",
    ],
    [
      new RecipeModuleError("r.ts", "there is no such file", "Check the path."),
      "r.ts: there is no such file\nCheck the path.",
    ],
    [
      new RangeError("session: id 9, expected 0 … 7"),
      "session: id 9, expected 0 … 7\nRun `deno task greet --help` to see what it takes.",
    ],
  ];
  for (const [error, message] of cases) {
    const people = await failing(error, "you", "--tone", "warm");
    assertEquals(people, { code: 2, stdout: "", stderr: `warming up\n${message}\n` });
    const { code, stdout, stderr } = await failing(error, "you", "--tone", "warm", "--json");
    assertEquals({ code, stderr }, { code: 2, stderr: people.stderr });
    const problems = error instanceof RecipeError || error instanceof FormatError
      ? error.problems
      : [];
    assertEquals(JSON.parse(stdout), { error: message, problems });
  }
});

Deno.test("command: messages do not steer the terminal", async () => {
  const found = "\x1b[2J\x1b]0;title\x07\u202etext";
  const { stderr } = await failing(new RangeError(`session: ${found}`));
  // deno-lint-ignore no-control-regex
  assert(!/[\x00-\x09\x0b-\x1f\u202e]/.test(stderr), JSON.stringify(stderr));
});

Deno.test("command: any other error is a bug: its stack, exit code 1", async () => {
  const engine = [
    () => new Array(-1),
    () => new Float32Array(2).set([1, 2, 3]),
    () => new DataView(new ArrayBuffer(1)).getFloat32(0),
    () => "x".repeat(-1),
    () => (1).toFixed(200),
  ].map((cause) => {
    try {
      cause();
      throw new Error("nothing was wrong");
    } catch (error) {
      assert(error instanceof RangeError);
      return error;
    }
  });
  for (const error of [new Error("broken"), new TypeError("x is undefined"), ...engine]) {
    const { code, stderr } = await failing(error);
    assertEquals(code, 1, error.message);
    assertStringIncludes(stderr, error.message);
    assertStringIncludes(stderr, "command_test.ts");
  }
  assertEquals((await failing("a text")).code, 1);
});

Deno.test("command: a reader that has seen enough is no error", async () => {
  const { code, stderr } = await failing(new Deno.errors.BrokenPipe("closed"));
  assertEquals({ code, stderr }, { code: 0, stderr: "warming up\n" });
});
