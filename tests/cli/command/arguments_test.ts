import { assertEquals, assertThrows } from "@std/assert";
import { asksForHelp, readArguments } from "../../../cli/command/arguments.ts";
import {
  absent,
  choice,
  choices,
  optional,
  path,
  real,
  required,
  text,
  toggle,
  UsageError,
  whole,
} from "../../../cli/command/flags.ts";

const DECLARED = {
  arguments: { FROM: "where it starts", TO: "where it ends" },
  flags: {
    name: required(text("NAME", "what it is called")),
    count: optional(whole("how many", 1, 10), 3),
    share: absent(real("X", "how much", "a number above 0", (x) => x > 0), "all"),
    kind: optional(choice("which", ["round", "square"]), "round"),
    file: absent(path("FILE", "where it is"), "nowhere"),
    fast: toggle("quickly"),
    help: toggle("this"),
  },
};

const read = (...words: string[]) => readArguments(words, DECLARED);
const problems = (...words: string[]) => assertThrows(() => read(...words), UsageError).problems;

Deno.test("arguments: values, and what stands in for those not given", () => {
  assertEquals(read("a", "b", "--name", "n"), {
    arguments: { FROM: "a", TO: "b" },
    flags: {
      name: "n",
      count: 3,
      share: undefined,
      kind: "round",
      file: undefined,
      fast: false,
      help: false,
    },
  });
  const all = read(
    ...["--fast", "a", "--name=n=m", "--count", "10", "b", "--share", ".5e-1"],
    ...["--kind=square", "--file", "-"],
  );
  assertEquals(all, {
    arguments: { FROM: "a", TO: "b" },
    flags: {
      name: "n=m",
      count: 10,
      share: 0.05,
      kind: "square",
      file: "-",
      fast: true,
      help: false,
    },
  });
});

Deno.test("arguments: a flag takes whatever word follows it", () => {
  for (const name of ["", "-5 degrees", "--fast", "--", "two\nlines", "=", "héé"]) {
    assertEquals(read("a", "b", "--name", name).flags.name, name);
    assertEquals(read("a", "b", `--name=${name}`).flags.name, name);
  }
  assertEquals(read("a", "b", "--name", "--fast").flags.fast, false);
});

Deno.test("arguments: after -- there are no flags; a dash alone is none", () => {
  assertEquals(read("--name", "n", "--", "--fast", "-x").arguments, { FROM: "--fast", TO: "-x" });
  assertEquals(read("--name", "n", "-", "b").arguments, { FROM: "-", TO: "b" });
});

Deno.test("arguments: the last of equal flags counts", () => {
  assertEquals(read("a", "b", "--name", "m", "--name", "n").flags.name, "n");
});

Deno.test("arguments: everything that is wrong is said at once", () => {
  assertEquals(problems(), [
    "FROM: expected where it starts, found nothing",
    "TO: expected where it ends, found nothing",
    "--name: expected NAME (what it is called), found nothing",
  ]);
  assertEquals(problems("a", "--cuont", "3", "--fast=yes", "--kind", "oval", "--count", "11"), [
    '--fast: expected no value, found "yes"',
    'there is no flag "--cuont"; did you mean --count?',
    "TO: expected where it ends, found nothing",
    "--name: expected NAME (what it is called), found nothing",
    '--count: expected a whole number from 1 to 10, found "11"',
    '--kind: expected round or square, found "oval"',
  ]);
  assertEquals(problems("a", "b", "c", "--name"), [
    "--name: expected NAME after it, found nothing",
  ]);
  assertEquals(problems("a", "b", "c", "--name", "n"), ['expected no further argument, found "c"']);
  assertEquals(problems("a", "b", "-x", "--name", "n"), ['there is no flag "-x"']);
  assertEquals(problems("a", "b", "--toString", "--name", "n"), [
    'there is no flag "--toString"',
  ]);
});

Deno.test("flags: whole numbers", () => {
  const { read } = whole("", 1);
  assertEquals(["1", "007", "9007199254740991"].map(read), [1, 7, 9007199254740991]);
  for (const word of ["", "0", "-1", "1.5", "1e3", "0x10", " 1", "1 ", "9007199254740992", "١"]) {
    assertThrows(() => read(word), UsageError, "expected a whole number from 1, found");
  }
});

Deno.test("flags: real numbers", () => {
  const { read } = real("", "", "a number", () => true);
  assertEquals(["1", "-0.5", ".5", "3.", "1e-3", "2.5E+2"].map(read), [1, -0.5, 0.5, 3, 1e-3, 250]);
  for (const word of ["", ".", "1e", "NaN", "Infinity", "1e999", "0x1", "1,5", " 1"]) {
    assertThrows(() => read(word), UsageError, "expected a number, found");
  }
});

Deno.test("flags: a path is not empty", () => {
  assertThrows(() => path("", "").read(""), UsageError, "expected a path, found nothing");
});

Deno.test("arguments: help is asked for anywhere, but not as a value", () => {
  const asks = (...words: string[]) => asksForHelp(words, DECLARED.flags);
  assertEquals(asks("--help"), true);
  assertEquals(asks("-h", "a"), true);
  assertEquals(asks("a", "--cuont", "--help"), true);
  assertEquals(asks("--name", "--help"), false);
  assertEquals(asks("--name", "-h"), false);
  assertEquals(asks("--", "--help"), false);
});

Deno.test("arguments: one named with three dots takes all words that are left, and wants one", () => {
  const many = { arguments: { TO: "where to", "FROM...": "where from" }, flags: DECLARED.flags };
  const { arguments: given } = readArguments(["a", "b", "--name", "n", "c"], many);
  assertEquals(given, { TO: "a", "FROM...": ["b", "c"] });
  const wrong = () => readArguments(["a", "--name", "n"], many);
  assertEquals(assertThrows(wrong, UsageError).problems, [
    "FROM...: expected where from, found nothing",
  ]);
});

Deno.test("arguments: one that may be left out, and a flag of several words", () => {
  const declared = {
    arguments: { "[WHAT]": "what" },
    flags: { sizes: absent(choices("which", ["small", "large"]), "none") },
  };
  assertEquals(readArguments([], declared), {
    arguments: { "[WHAT]": undefined },
    flags: { sizes: undefined },
  });
  assertEquals(readArguments(["x", "--sizes", "large,small,large"], declared), {
    arguments: { "[WHAT]": "x" },
    flags: { sizes: ["large", "small"] },
  });
  const wrong = assertThrows(() => readArguments(["x", "y", "--sizes", "small,"], declared));
  assertEquals((wrong as UsageError).problems, [
    'expected no further argument, found "y"',
    "--sizes: expected small or large, several with commas, found nothing",
  ]);
});
