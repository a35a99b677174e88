import { assert, assertEquals, assertThrows } from "@std/assert";
import { collectModules, importsOf, withoutTypes } from "../../../cli/page/modules.ts";

const read = (files: Readonly<Record<string, string>>) => (path: string) => files[path];

Deno.test("modules: what a module imports", () => {
  const code = withoutTypes(
    `import a, { b } from "./a.ts";
import type { C } from "./types.ts";
import { type D } from "./mixed.ts";
import {
  e,
  type F,
} from "./lines.ts";
import * as g from "g";
import "./effect.ts";
export { h } from "../h.ts";
export * from "./all.ts";
export const text = 'import x from "./not.ts"';
`,
    "m.ts",
  );
  assertEquals(importsOf(code), [
    ...["./a.ts", "./mixed.ts", "./lines.ts", "g", "./effect.ts", "../h.ts", "./all.ts"],
  ]);
});

Deno.test("modules: lines stay where they are without types", () => {
  const code = withoutTypes(
    "interface A {\n  b: number;\n}\nexport const c: A = { b: 1 };\n",
    "m.ts",
  );
  assertEquals(code.split("\n").map((line) => line.trim()), [
    ...["", "", "", "export const c    = { b: 1 };", ""],
  ]);
});

Deno.test("modules: syntax that is more than types is refused with the file's name", () => {
  const { message } = assertThrows(() => withoutTypes("enum A { B }", "graph/a.ts"), Error);
  assert(message.startsWith("graph/a.ts: expected types that can be taken out: "), message);
});

Deno.test("modules: a module and all that it imports, each once", () => {
  const files = {
    "page/main.ts": `import { b } from "../graph/b.ts";\nimport c from "c";\nb(c);\n`,
    "graph/b.ts": `import { d } from "./deep/d.ts";\nexport const b = d;\n`,
    "graph/deep/d.ts": `import type { b } from "../b.ts";\nexport const d: typeof b = 1;\n`,
  };
  const modules = collectModules("page/main.ts", read(files), new Set(["c"]));
  assertEquals([...modules.keys()].sort(), Object.keys(files).sort());
});

Deno.test("modules: what a browser cannot import is refused", () => {
  const files = { "page/main.ts": `import { join } from "node:path";\njoin();\n` };
  const { message } = assertThrows(
    () => collectModules("page/main.ts", read(files), new Set()),
    Error,
  );
  assertEquals(message, "page/main.ts: imports node:path, which the page's import map has not");
});

Deno.test("modules: those of the page ask nothing of Deno", () => {
  const root = new URL("../../../", import.meta.url);
  const modules = collectModules(
    "page/main.ts",
    (path) => Deno.readTextFileSync(new URL(path, root)),
    new Set(["@huggingface/tokenizers"]),
  );
  assert(modules.has("devices/webgpu/device.ts") && modules.has("infer/session.ts"));
  const asking = [...modules].filter(([, code]) => /\bDeno\./.test(code)).map(([path]) => path);
  assertEquals(asking, []);
});
