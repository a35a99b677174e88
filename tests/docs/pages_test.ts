/** README.md and docs/: what they point at is there, and nothing in them waits to be filled in. */
import { assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url);

const PAGES = [
  "README.md",
  "CONTRIBUTING.md",
  ...[...Deno.readDirSync(new URL("docs/", ROOT))].map(({ name }) => `docs/${name}`),
].filter((page) => page.endsWith(".md")).sort();

const linesOf = (page: string) => Deno.readTextFileSync(new URL(page, ROOT)).split("\n");

function exists(url: URL): boolean {
  try {
    Deno.statSync(url);
    return true;
  } catch {
    return false;
  }
}

Deno.test("pages: no link leads nowhere", () => {
  const dead = PAGES.flatMap((page) =>
    linesOf(page).flatMap((line, i) =>
      [...line.matchAll(/\]\(([^)\s#]+)(#[^)]*)?\)/g)]
        .map(([, link]) => link)
        .filter((link) => !/^[a-z]+:/.test(link) && !exists(new URL(link, new URL(page, ROOT))))
        .map((link) => `${page}:${i + 1}: ${link}`)
    )
  );
  assertEquals(dead, []);
});

Deno.test("pages: files that are named are there", () => {
  const folders = [...Deno.readDirSync(ROOT)].filter((entry) => entry.isDirectory);
  const names = folders.map(({ name }) => name).filter((name) => /^[a-z]+$/.test(name));
  // What a run makes is not there, nor is what a person names.
  const known = names.filter((name) => name !== "out").join("|");
  const pattern = new RegExp(`\`((?:${known})/[a-z0-9_./-]*)\``, "g");
  const missing = PAGES.flatMap((page) =>
    linesOf(page).flatMap((line, i) =>
      [...line.matchAll(pattern)]
        .filter(([, path]) => !exists(new URL(path, ROOT)))
        .map(([, path]) => `${page}:${i + 1}: ${path}`)
    )
  );
  assertEquals(missing, []);
});

Deno.test("pages: nothing is left to be filled in", () => {
  const open = PAGES.flatMap((page) =>
    linesOf(page).flatMap((line, i) =>
      /^\s*[A-Z][A-Z0-9]*(_[A-Z0-9]+)+\s*$/.test(line) ? [`${page}:${i + 1}: ${line}`] : []
    )
  );
  assertEquals(open, []);
});

/** An anchor as Markdown's renderers make it of a heading. */
const anchorOf = (heading: string) =>
  heading.replace(/^#+/, "").trim().toLowerCase().replace(/[^\p{L}\p{N}_ -]/gu, "").replaceAll(
    " ",
    "-",
  );

Deno.test("pages: no link leads to a heading that is not there", () => {
  const anchors = new Map(PAGES.map((page) => [
    new URL(page, ROOT).href,
    new Set(linesOf(page).filter((line) => line.startsWith("#")).map(anchorOf)),
  ]));
  const dead = PAGES.flatMap((page) =>
    linesOf(page).flatMap((line, i) =>
      [...line.matchAll(/\]\(([^)\s#]*)#([^)\s]+)\)/g)].flatMap(([, link, anchor]) => {
        const own = anchors.get(new URL(link, new URL(page, ROOT)).href);
        return own === undefined || own.has(anchor) ? [] : [`${page}:${i + 1}: ${link}#${anchor}`];
      })
    )
  );
  assertEquals(dead, []);
});

const { tasks } = JSON.parse(Deno.readTextFileSync(new URL("deno.json", ROOT)));

/** The flags of a task, of which all but the tests are commands. */
async function flagsOf(task: string): Promise<ReadonlySet<string>> {
  const [path] = /cli\/\w+\.ts$/.exec(tasks[task].command) ?? [];
  const module: Record<string, { readonly flags?: object }> = path === undefined
    ? {}
    : await import(new URL(path, ROOT).href);
  const command = Object.values(module).find(({ flags }) => flags !== undefined);
  return new Set([...Object.keys(command?.flags ?? {}), "json", "help"]);
}

Deno.test("pages: every command is a task, and has the flags that it is shown with", async () => {
  const wrong: string[] = [];
  for (const page of PAGES) {
    const text = linesOf(page).join("\n").replace(/\\\n\s*/g, " ");
    for (const [, task, rest] of text.matchAll(/deno task ([a-z][a-z-]*)([^\n`|]*)/g)) {
      if (!Object.hasOwn(tasks, task)) {
        wrong.push(`${page}: deno task ${task}`);
        continue;
      }
      const known = await flagsOf(task);
      const flags = rest.split(/\s#/)[0].matchAll(/ --([a-z][a-z0-9-]*)/g);
      for (const [, flag] of flags) {
        if (!known.has(flag)) wrong.push(`${page}: deno task ${task}: --${flag}`);
      }
    }
  }
  assertEquals(wrong, []);
});
