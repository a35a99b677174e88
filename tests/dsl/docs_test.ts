/** Every example of docs/recipes.md compiles, runs, and says what the page says that it says. */
import { assert, assertEquals } from "@std/assert";
import * as suture from "../../mod.ts";

const ROOT = new URL("../../", import.meta.url);
const PAGE = new URL("docs/recipes.md", ROOT);

/** Pages with examples, and how many there are at least. */
const PAGES = { "README.md": 1, "docs/recipes.md": 8, "docs/checkpoints.md": 1 };

interface Block {
  readonly language: string;
  readonly line: number;
  readonly code: string;
}

/** The fenced blocks of a page. */
function blocksOf(page: string): Block[] {
  return [...page.matchAll(/^```([a-z ]+)\n(.*?)^```$/gms)].map(
    ({ index, 1: language, 2: code }) => {
      return { language, line: page.slice(0, index).split("\n").length, code };
    },
  );
}

/** An example as a module: the page's imports made absolute, or all that an author can import. */
function moduleOf({ code }: Block): string {
  const mod = new URL("../../mod.ts", import.meta.url).href;
  if (code.includes('from "../mod.ts"')) return code.replace("../mod.ts", mod);
  const names = Object.keys(suture).join(", ");
  const base = new URL("example.ts", import.meta.url).href;
  return `import { ${names} } from "${mod}";\nimport { conversion as base } from "${base}";\n${code}`;
}

Deno.test("pages: every example compiles and runs", async () => {
  for (const [page, count] of Object.entries(PAGES)) await runExamples(page, count);
});

async function runExamples(page: string, count: number): Promise<void> {
  const blocks = blocksOf(await Deno.readTextFile(new URL(page, ROOT)));
  const examples = blocks.filter(({ language }) => language.startsWith("ts"));
  assert(examples.length >= count, `${page}: ${examples.length} examples`);
  const folder = await Deno.makeTempDir({ prefix: "suture-docs-" });
  try {
    const files = examples.map(({ line }) => `${folder}/line_${line}.ts`);
    await Promise.all(files.map((file, i) => Deno.writeTextFile(file, moduleOf(examples[i]))));
    const check = new Deno.Command(Deno.execPath(), { args: ["check", "--quiet", ...files] });
    const { success, stderr } = await check.output();
    assert(success, new TextDecoder().decode(stderr));
    for (const [i, block] of examples.entries()) {
      const thrown = await import(`file://${files[i]}`).then(() => undefined, (error) => error);
      if (block.language === "ts") assertEquals(thrown, undefined, `${page}, line ${block.line}`);
      else assertEquals(thrown.message + "\n", blocks[blocks.indexOf(block) + 1].code);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("docs/recipes.md: the first example is the recipe that the others call base", async () => {
  const [first] = blocksOf(await Deno.readTextFile(PAGE));
  const folder = await Deno.makeTempDir({ prefix: "suture-docs-" });
  try {
    await Deno.writeTextFile(`${folder}/base.ts`, moduleOf(first));
    const { default: recipe } = await import(`file://${folder}/base.ts`);
    const { conversion } = await import("./example.ts");
    assertEquals(recipe, conversion);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("docs/recipes.md: names all that mod.ts exports", async () => {
  const page = await Deno.readTextFile(PAGE);
  const missing = Object.keys(suture).filter((name) => !page.includes(name));
  assertEquals(missing, []);
});

Deno.test("mod.ts: every export and every key of it says what it is", async () => {
  const { stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", "--lint", "mod.ts"],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  const silent = [...new TextDecoder().decode(stderr).matchAll(/\[missing-jsdoc\][^]*?--> (\S+)/g)];
  assertEquals(silent.map(([, place]) => place), []);
});
