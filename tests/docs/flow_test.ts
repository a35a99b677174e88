/** Imports go one way: what CONTRIBUTING.md's table of folders says is what the files do. */
import { assert, assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url);
const PATH = /`([a-z]+)`/g;

/** Which folders each folder may import from, by the table: its rows stand from top to bottom. */
function allowedImports(): ReadonlyMap<string, ReadonlySet<string>> {
  const rows = Deno.readTextFileSync(new URL("CONTRIBUTING.md", ROOT)).split("\n")
    .filter((line) => line.startsWith("| `"))
    .map((line) => line.split("|").map((cell) => cell.trim()))
    .map(([, folders, , imports]) => ({ folders: namesIn(folders), imports }));
  const below = rows.map((_, i) => rows.slice(i + 1).flatMap(({ folders }) => folders));
  return new Map(rows.flatMap(({ folders, imports }, i) => {
    const named = namesIn(imports);
    const allowed = imports === "everything" || imports === "all below"
      ? below[i]
      : imports.startsWith("all below but")
      ? below[i].filter((folder) => !named.includes(folder))
      : named;
    assert(named.every((folder) => below[i].includes(folder)), `${folders}: ${imports}`);
    return folders.map((folder) => [folder, new Set([folder, ...allowed])] as const);
  }));
}

const namesIn = (cell: string) => [...cell.matchAll(PATH)].map(([, name]) => name);

/** Paths from the root of the TypeScript files in a folder and those in it. */
function* filesOf(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(new URL(`${folder}/`, ROOT))) {
    const path = `${folder}/${name}`;
    if (isDirectory) yield* filesOf(path);
    else if (name.endsWith(".ts")) yield path;
  }
}

/** Paths from the root of the TypeScript files that a file names: its imports and its workers. */
function importsOf(path: string): readonly string[] {
  const text = Deno.readTextFileSync(new URL(path, ROOT));
  return [...text.matchAll(/(?:from|import|import\(|new URL\()\s*"(\.[^"]+\.ts)"/g)]
    .map(([, name]) => new URL(name, new URL(path, ROOT)).href.slice(ROOT.href.length));
}

const folderOf = (path: string) => path.split("/")[0];

Deno.test("flow: every import goes downwards in CONTRIBUTING.md's table", () => {
  const allowed = allowedImports();
  assert(allowed.size >= 14, "the table lists the folders");
  const upwards = [...allowed].flatMap(([folder, targets]) =>
    [...filesOf(folder)].flatMap((path) =>
      importsOf(path)
        .filter((target) => allowed.has(folderOf(target)) && !targets.has(folderOf(target)))
        .map((target) => `${path} imports ${target}`)
    )
  );
  assertEquals(upwards, []);
});

Deno.test("flow: only commands import mod.ts, and recipes nothing but it and other recipes", () => {
  const importers = [...allowedImports().keys()].flatMap((folder) => [...filesOf(folder)])
    .filter((path) => importsOf(path).includes("mod.ts"));
  assertEquals(importers.filter((path) => folderOf(path) !== "cli"), []);
  const strays = [...filesOf("recipes")].flatMap((path) =>
    importsOf(path)
      .filter((target) => target !== "mod.ts" && folderOf(target) !== "recipes")
      .map((target) => `${path} imports ${target}`)
  );
  assertEquals(strays, []);
});
