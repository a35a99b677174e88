/** Recipes from a server of the tests: fetched, locked, changed, evaluated from what is kept. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { fetchRecipe } from "../../../cli/recipe/fetch.ts";
import { lockedReader, readLock, storedPath } from "../../../cli/recipe/lock.ts";
import { evaluateModules, readModules, RecipeModuleError } from "../../../cli/recipe/module.ts";
import { FormatError } from "../../../formats/error.ts";
import { toJson } from "../../../mod.ts";
import { conversion } from "../../dsl/example.ts";
import { valid, withFiles } from "./support.ts";

/** Answers by path: text, or a whole response. */
type Site = Record<string, string | (() => Response)>;

/** Runs with a server, its address and the paths that it was asked for, and an empty folder. */
async function withSite(
  site: Site,
  run: (at: { url: string; folder: string; asked: string[] }) => Promise<void>,
): Promise<void> {
  const asked: string[] = [];
  const answer = (request: Request) => {
    const { pathname } = new URL(request.url);
    asked.push(pathname);
    const found = site[pathname];
    if (typeof found === "function") return found();
    return new Response(found ?? "none", { status: found === undefined ? 404 : 200 });
  };
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, answer);
  const url = `http://127.0.0.1:${server.addr.port}`;
  try {
    await withFiles({}, (path) => run({ url, folder: path("."), asked }));
  } finally {
    await server.shutdown();
  }
}

/** The recipe that a folder has of a URL. */
async function load(recipe: string, folder: string) {
  const modules = await readModules(recipe, lockedReader(folder));
  return (await evaluateModules(modules)).recipes[0];
}

const sum = (text: string) => createHash("sha256").update(text).digest("hex");

const base = valid("", "base", "@suture/suture");
const derived = `import base from "./base.ts"; import { withSeed } from "@suture/suture";
  import { seed } from "../seed.js"; export default withSeed(seed)(base);`;

Deno.test("lock: a recipe is fetched with all that it imports, and then needs no network", async () => {
  const seed = "export const seed = 7;";
  const site: Site = { "/r/derived.ts": derived, "/r/base.ts": base, "/seed.js": seed };
  await withSite(site, async ({ url, folder, asked }) => {
    const recipe = `${url}/r/derived.ts`;
    const before = await assertRejects(() => load(recipe, folder), RecipeModuleError);
    assertStringIncludes(before.message, `${recipe}: it is not in recipes.lock\nFetch it and all`);
    assertStringIncludes(before.message, `deno task fetch-recipe ${recipe}`);
    assertEquals(asked, []);

    const fetched = await fetchRecipe(recipe, folder, false);
    assertEquals(fetched, [
      { url: `${url}/r/base.ts`, sha256: sum(base), state: "new" },
      { url: `${url}/seed.js`, sha256: sum(seed), state: "new" },
      { url: recipe, sha256: sum(derived), state: "new" },
    ]);
    assertEquals(JSON.parse(Deno.readTextFileSync(join(folder, "recipes.lock"))), {
      version: 1,
      modules: {
        [`${url}/r/base.ts`]: sum(base),
        [recipe]: sum(derived),
        [`${url}/seed.js`]: sum(seed),
      },
    });
    asked.length = 0;
    assertEquals((await load(recipe, folder)).seed, 7);
    assertEquals((await load(`${url}/r/base.ts`, folder)).seed, 0);
    assertEquals(asked, []);
    const again = await fetchRecipe(recipe, folder, false);
    assertEquals(again.map(({ state }) => state), ["as locked", "as locked", "as locked"]);
  });
});

Deno.test("lock: a module that changed is refused with both hashes until it is accepted", async () => {
  const site: Site = { "/r.ts": derived.replace("../seed.js", "./seed.js"), "/base.ts": base };
  site["/seed.js"] = "export const seed = 7;";
  await withSite(site, async ({ url, folder }) => {
    const recipe = `${url}/r.ts`;
    await fetchRecipe(recipe, folder, false);
    const lock = Deno.readTextFileSync(join(folder, "recipes.lock"));
    const old = sum(site["/seed.js"] as string);
    site["/seed.js"] = 'export { seed } from "./new.js";';
    site["/new.js"] = "export const seed = 8;";
    const error = await assertRejects(() => fetchRecipe(recipe, folder, false), RecipeModuleError);
    assertEquals(
      error.message,
      `${recipe}: a module has changed since recipes.lock was written
  ${url}/seed.js
    recipes.lock: ${old}
    now: ${sum(site["/seed.js"])}
Read what they are now; to accept it: deno task fetch-recipe ${recipe} --lock-update`,
    );
    assertEquals(Deno.readTextFileSync(join(folder, "recipes.lock")), lock);
    assertEquals((await load(recipe, folder)).seed, 7);
    const accepted = await fetchRecipe(recipe, folder, true);
    const states = accepted.map(({ url, state }) => [new URL(url).pathname, state]);
    assertEquals(states, [
      ["/base.ts", "as locked"],
      ["/new.js", "new"],
      ["/seed.js", "changed"],
      ["/r.ts", "as locked"],
    ]);
    assertEquals((await load(recipe, folder)).seed, 8);
  });
});

Deno.test("lock: what is kept is what was locked, or it is refused", async () => {
  await withSite({ "/r.ts": base }, async ({ url, folder }) => {
    const recipe = `${url}/r.ts`;
    await fetchRecipe(recipe, folder, false);
    const kept = storedPath(folder, new URL(recipe), sum(base));
    const other = base.replace("out/example", "out/other");
    Deno.writeTextFileSync(kept, other);
    const error = await assertRejects(() => load(recipe, folder), RecipeModuleError);
    assertStringIncludes(error.message, `its copy was changed\n  recipes.lock: ${sum(base)}\n`);
    assertStringIncludes(error.message, `${kept}: ${sum(other)}\nFetch it`);
    Deno.removeSync(kept);
    await assertRejects(() => load(recipe, folder), RecipeModuleError, ".recipes has not");
    await fetchRecipe(recipe, folder, false);
    assertEquals((await load(recipe, folder)).output, "out/example");
    Deno.removeSync(join(folder, "recipes.lock"));
    await assertRejects(() => load(recipe, folder), RecipeModuleError, "it is not in recipes.lock");
  });
});

Deno.test("lock: what the system refuses is said with the file's name", async () => {
  await withSite({ "/r.ts": base }, async ({ url, folder }) => {
    const recipe = `${url}/r.ts`;
    await fetchRecipe(recipe, folder, false);
    Deno.removeSync(join(folder, ".recipes"), { recursive: true });
    Deno.writeTextFileSync(join(folder, ".recipes"), "");
    const found = "found a file where a folder should be";
    await assertRejects(() => load(recipe, folder), FormatError, found);
    await assertRejects(() => fetchRecipe(recipe, folder, false), FormatError, found);
    const inFile = lockedReader(join(folder, "recipes.lock"));
    await assertRejects(() => readModules(recipe, inFile), FormatError, found);
  });
});

Deno.test("lock: JSON, a file that imports from the web, and copies of Suture's recipes", async () => {
  const site: Site = { "/r.json": toJson(conversion), "/recipes/own.ts": "" };
  site["/recipes/own.ts"] = valid("", "base", "../mod.ts");
  await withSite(site, async ({ url, folder, asked }) => {
    await fetchRecipe(`${url}/r.json`, folder, false);
    assertEquals(await load(`${url}/r.json`, folder), conversion);
    Deno.writeTextFileSync(
      join(folder, "local.ts"),
      `import base from "${url}/recipes/own.ts"; import { withSeed } from "@suture/suture";
       export default withSeed(5)(base);`,
    );
    const local = join(folder, "local.ts");
    const error = await assertRejects(() => load(local, folder), RecipeModuleError);
    assertStringIncludes(error.message, "/recipes/own.ts: it is not in recipes.lock");
    await fetchRecipe(local, folder, false);
    assertEquals((await load(local, folder)).seed, 5);
    // mod.ts is the one that runs, never one from the web.
    assertEquals(asked, ["/r.json", "/recipes/own.ts"]);
    assertEquals(readLock(folder).size, 2);
  });
});

Deno.test("fetch: what is refused keeps nothing", async () => {
  const to = (status: number, location: string) => () =>
    new Response(null, { status, headers: { location } });
  const site: Site = {
    "/moved.ts": to(302, "/r.ts"),
    "/away.ts": to(301, "https://example.com/r.ts"),
    "/lost.ts": to(301, "https://["),
    "/folder.ts": to(301, "file://host:1/r.ts"),
    "/r.ts": base,
    "/long.ts": () => new Response(new Uint8Array(5 * 2 ** 20).fill(32)),
    "/code.ts": " ".repeat(300_000),
    "/latin.ts": () => new Response(new Uint8Array([0x2f, 0x2f, 0xe4])),
    "/file.ts": 'import "file:///etc/passwd.ts";',
    "/node.ts": 'import "node:fs";',
    "/dynamic.ts": 'await import("./r.ts");',
    "/circle.ts": 'import "./back.ts";',
    "/back.ts": 'import "./circle.ts";',
    "/plain.ts": 'import "http://example.com/r.ts";',
    "/missing.ts": 'import "./none.ts";',
    "/broken.ts": "const = ;",
    "/many.ts": Array.from({ length: 120 }, (_, i) => `import "./m/${i}.js";`).join("\n"),
    ...Object.fromEntries(Array.from({ length: 120 }, (_, i) => [`/m/${i}.js`, ""])),
  };
  await withSite(site, async ({ url, folder }) => {
    const cases = [
      ["/none.ts", "its server answers 404\nCheck the URL"],
      ["/moved.ts", `its server sends on to ${url}/r.ts\nName that URL`],
      ["/away.ts", "its server sends on to https://example.com/r.ts"],
      ["/lost.ts", "its server answers 301"],
      ["/folder.ts", "its server"],
      ["/long.ts", "it is longer than 4194304 bytes"],
      ["/code.ts", "it is longer than 262144 bytes"],
      ["/latin.ts", "it is no UTF-8 text"],
      ["/file.ts", 'it imports "file:///etc/passwd.ts" at '],
      ["/file.ts", "a recipe from the web imports no files"],
      ["/node.ts", "node: is no recipe"],
      ["/dynamic.ts", `it uses import(…)\n    at ${url}/dynamic.ts:1:7`],
      ["/circle.ts", "it imports itself in a circle"],
      ["/plain.ts", "http: can be changed on the way"],
      ["/missing.ts", `${url}/none.ts: its server answers 404`],
      ["/broken.ts", `SyntaxError: Unexpected token\n    at ${url}/broken.ts:1:7`],
      ["/many.ts", "it consists of more than 100 modules"],
      ["/r.yaml", "is not named like a recipe"],
      ["/r.ts?x#y.ts#z", "names no module"],
    ] as const;
    for (const [path, expected] of cases) {
      const error = await assertRejects(
        () => fetchRecipe(url + path, folder, false),
        RecipeModuleError,
      );
      assertStringIncludes(error.message, expected, path);
    }
    for (const away of ["http://example.com/r.ts", "https://a:b@example.com/r.ts"]) {
      await assertRejects(() => fetchRecipe(away, folder, false), RecipeModuleError);
    }
    assertEquals([...Deno.readDirSync(folder)], []);
  });
});

Deno.test("fetch: a server that is not there", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  await withFiles({}, async (path) => {
    const error = await assertRejects(
      () => fetchRecipe(`http://127.0.0.1:${port}/r.ts`, path("."), false),
      RecipeModuleError,
    );
    assertStringIncludes(error.message, "it cannot be fetched: ");
    assertStringIncludes(error.message, "\nCheck the URL and the network, then try again.");
  });
});

Deno.test("lock: one that was spoilt names every place", async () => {
  await withFiles({}, async (path) => {
    const spoilt = async (text: string) => {
      await Deno.writeTextFile(path("recipes.lock"), text);
      try {
        readLock(path("."));
      } catch (error) {
        assert(error instanceof FormatError, String(error));
        return error.message;
      }
      throw new Error(`accepted: ${text}`);
    };
    assertStringIncludes(await spoilt("{"), "expected JSON");
    assertStringIncludes(await spoilt("[]"), "expected a JSON object, found a list");
    assertStringIncludes(await spoilt('{"version": 2}'), "version: expected 1, found 2");
    assertStringIncludes(await spoilt('{"version": 1}'), "modules: expected SHA-256 by URL");
    const both = await spoilt(
      '{"version": 1, "modules": {"https://a.b/c.ts": "12", "__proto__": "x", "file:///a.ts": "y"}}',
    );
    assertStringIncludes(both, "3 problems in");
    assertStringIncludes(both, 'modules["https://a.b/c.ts"]: expected 64 hexadecimal digits');
    assertStringIncludes(both, 'modules["file:///a.ts"]: expected an https: URL as its key');
    await Deno.writeTextFile(path("recipes.lock"), "x".repeat(3 * 2 ** 20));
    assertStringIncludes(await spoilt(" ".repeat(3 * 2 ** 20)), "expected at most 2097152 bytes");
  });
});
