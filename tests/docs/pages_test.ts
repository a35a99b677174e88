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

Deno.test("pages: nothing is left to be filled in", () => {
  const open = PAGES.flatMap((page) =>
    linesOf(page).flatMap((line, i) =>
      /^\s*[A-Z][A-Z0-9]*(_[A-Z0-9]+)+\s*$/.test(line) ? [`${page}:${i + 1}: ${line}`] : []
    )
  );
  assertEquals(open, []);
});
