/** What recipes try that are not only recipes. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { loadRecipe, loadRecipes } from "../../../cli/recipe/module.ts";
import { typeProblems } from "../../../cli/recipe/types.ts";
import { toJson } from "../../../mod.ts";
import { MOD, refusal, valid, withFiles } from "./support.ts";

/** What became of each expression that a recipe tried: the error, or `had TYPE`. */
async function outcomes(expressions: readonly string[]): Promise<readonly string[]> {
  const tries = expressions.map((expression) => `async () => ${expression}`).join(",\n");
  const message = await refusal(`
    const found = [];
    for (const attempt of [${tries}]) {
      try { found.push("had " + typeof await attempt()); } catch (error) { found.push(String(error)); }
    }
    throw new Error(found.join("|"));`);
  const [, list] = /Error: (.*)\n/.exec(message) ?? [];
  return list?.split("|") ?? [message];
}

Deno.test("escape: the runtime is not there, by whatever name", async () => {
  const names = [
    "Deno",
    "process",
    "fetch",
    "WebSocket",
    "EventSource",
    "Worker",
    "BroadcastChannel",
    "MessageChannel",
    "postMessage",
    "close",
    "self",
    "global",
    "Buffer",
    "require",
    "caches",
    "navigator",
    "location",
    "performance",
    "crypto",
    "setTimeout",
    "setInterval",
    "setImmediate",
    "URL",
    "Blob",
    "WebAssembly",
    "SharedArrayBuffer",
    "Atomics",
    "GPU",
    "eval",
    "Function",
    "suture",
  ];
  const found = await outcomes([...names, ...names.map((name) => `globalThis.${name}.x`)]);
  const byName = names.map((name) => `ReferenceError: ${name} is not defined`);
  assertEquals(found.slice(0, names.length), byName);
  for (const message of found.slice(names.length)) {
    assertStringIncludes(message, "TypeError: Cannot read properties of undefined");
  }
});

Deno.test("escape: text does not become code", async () => {
  const found = await outcomes([
    "(() => {}).constructor('return 1')()",
    "(async () => {}).constructor('return import(`node:fs`)')()",
    "(function* () {}).constructor('yield 1')()",
    "Object.getPrototypeOf(async function* () {}).constructor('yield 1')()",
    "Array.constructor('return 1')()",
    "(class {}).constructor('return 1')()",
    "Reflect.construct(Object.getPrototypeOf(Object).constructor, ['return 1'])",
    "globalThis.constructor.constructor('return 1')()",
  ]);
  for (const message of found) {
    assert(/TypeError: .*(not a function|not a constructor|undefined)/.test(message), message);
  }
});

Deno.test("escape: imports reach Suture and recipes only, whatever the scheme", async () => {
  const statically = [
    ['"node:fs"', "node: is no recipe"],
    ['"npm:chalk"', "npm: is no recipe"],
    ['"jsr:@std/assert"', "jsr: is no recipe"],
    ['"data:text/javascript,export default 1"', "data: is no recipe"],
    ['"blob:null/0"', "blob: is no recipe"],
    ['"fs"', 'it is no path\nSuture is imported from "@suture/suture"'],
    ['"suture"', 'it is no path\nSuture is imported from "@suture/suture"'],
    ['"file:///etc/hostname.json"', "/etc/hostname.json: there is no such file"],
    ['"../outside.ts"', "there is no such file"],
    ['"https://example.com/x.ts"', "it is not in recipes.lock\nFetch it"],
    ['"http://example.com/x.ts"', "http: can be changed on the way"],
    ['"https://me:secret@example.com/x.ts"', "its URL holds a password"],
    ['"./x.wasm"', "is not named like a recipe"],
    ['"//example.com/x.ts"', "it is no path of a file"],
    ['"./a%2Fb.ts"', "it is no path of a file"],
    ['"//a:99999999/x.ts"', "it is no path"],
  ] as const;
  for (const [specifier, expected] of statically) {
    for (const form of [`import ${specifier};`, `export * from ${specifier};`]) {
      const message = await refusal(form);
      assertStringIncludes(message, "it imports ");
      assertStringIncludes(message, expected);
    }
  }
  const others = [
    ['await import("node:fs")', "it uses import(…)"],
    ['const f = () => import("no" + "de:fs");', "it uses import(…)"],
    ['`${await import("data:text/javascript,")}`', "it uses import(…)"],
    ['import fs = require("node:fs");', "it uses import … = …"],
    ['type Fs = import("node:fs").Stats;', 'it uses import("…") in a type'],
    ['import secret from "./x.json" with { type: "text" };', "an attribute that recipes do not"],
    ['declare module "https://example.com/x.ts" {}', 'it uses declare module "…"'],
    ['/// <reference path="/etc/x.d.ts" />', "it has a comment that loads types"],
    ['/// <REFERENCE types="https://example.com/x.d.ts" />', "it has a comment that loads types"],
    ['// @deno-types="https://example.com/x.d.ts"', "it has a comment that loads types"],
    ['/* @ts-types="https://example.com/x.d.ts" */', "it has a comment that loads types"],
    ['/* @ts-self-types="./x.d.ts" */', "it has a comment that loads types"],
    ["/** @jsxImportSource https://example.com */", "it has a comment that loads types"],
    ['/** @type {import("/etc/x.ts").X} */', "it has a comment that loads types"],
    ['/** @import { X } from "./x.ts" */', "it has a comment that loads types"],
  ] as const;
  for (const [source, expected] of others) {
    const message = await refusal(`${source}\n${valid()}`);
    assertStringIncludes(message, expected);
    assertStringIncludes(message, "\n    at recipe.ts:1:");
  }
});

Deno.test("escape: comments that only speak of imports are comments", async () => {
  const source = `// One may import (or not) {@link import}; <reference>
    /** Its types: @ts-expect-error is its author's affair. */\n${valid()}`;
  await withFiles({ "recipe.ts": source }, async (path) => {
    assertEquals((await loadRecipe(path("recipe.ts"))).output, "out/example");
  });
});

Deno.test("escape: the type checker loads nothing, were an import overlooked", async () => {
  const cases = [
    ['/// <reference types="https://esm.sh/x.d.ts" />', "but --no-remote is specified"],
    [`// @deno-types="https://esm.sh/x.d.ts"\nimport "${MOD}";`, "but --no-remote is specified"],
    ['import x from "https://esm.sh/x.ts"; x();', "but --no-remote is specified"],
    ['import x from "npm:chalk@5.0.0"; x();', "but --no-npm is specified"],
  ] as const;
  for (const [source, expected] of cases) {
    const module = { url: "", name: "r.ts", language: "typescript", source, sha256: "" } as const;
    const modules = [{ ...module, imports: [] }];
    const problems = await typeProblems({ where: "r.ts", name: "default", modules });
    assertStringIncludes(problems[0].message, expected);
  }
});

Deno.test("escape: a syntax that is too much is refused", async () => {
  assertStringIncludes(await refusal("[".repeat(2e5)), "recipe.ts: it is nested too deep");
  assertStringIncludes(await refusal("0,".repeat(2e5)), "it is longer than 262144 bytes");
  assertStringIncludes(
    await refusal(`[${"0,".repeat(1.3e5)}]; import("x")`),
    "it uses import(…)",
  );
});

Deno.test("escape: a link out of the project is followed to where it leads", async () => {
  await withFiles({ "secret.json": '{ "seed": 7 }' }, async (secret) => {
    await withFiles({}, async (path) => {
      await Deno.symlink(secret("secret.json"), path("link.json"));
      await Deno.writeTextFile(
        path("recipe.ts"),
        'import secret from "./link.json" with { type: "json" }; export default secret;',
      );
      const message = await loadRecipe(path("recipe.ts")).catch(({ message }) => message);
      assertStringIncludes(message, "it is outside of the recipe's project");
    });
  });
});

Deno.test("escape: only plain data comes out", async () => {
  const cases: readonly (readonly [value: string, expected: string])[] = [
    ["() => 1", "recipe: expected a recipe, found a function"],
    ["{ ...base, output: () => 1 }", "output: expected the path of a directory, found a function"],
    ["{ ...base, seed: 1n }", "seed: expected a whole number from 0 to 4294967295, found 1n"],
    ["{ ...base, seed: NaN }", "found NaN"],
    ["{ ...base, heldOut: Infinity }", "found Infinity"],
    ["{ ...base, output: Symbol('x') }", "found a symbol"],
    ["Object.assign(Object.create(base), {})", "teacher: expected"],
    ['JSON.parse(`{ "__proto__": { "seed": 1 } }`)', "__proto__: expected one of the keys"],
    ["{ ...base, ['constructor']: {} }", "constructor: expected one of the keys"],
    ["(() => { const a = { ...base }; a.data = [a]; return a; })()", "data[0].kind: expected"],
    ["{ ...base, toJSON: () => ({}) }", "toJSON: expected one of the keys"],
    ["new Proxy(base, { ownKeys() { throw new TypeError('no'); } })", "TypeError: no"],
    ["new Proxy({ ...base }, { get: () => () => 1 })", "output: expected the path of a directory"],
    ["Promise.resolve(base)", "teacher: expected"],
  ];
  for (const [value, expected] of cases) {
    assertStringIncludes(await refusal(valid("", value), "recipe.js"), expected);
  }
  // A getter is asked once, and what it answers is data.
  await withFiles({
    "recipe.ts": valid(
      "let asked = 0;",
      "{ ...base, get seed() { return ++asked; }, [Symbol('hidden')]: 1 }",
    ),
  }, async (path) => {
    const loaded = await loadRecipe(path("recipe.ts"));
    assertEquals(Object.getOwnPropertyDescriptor(loaded, "seed")?.get, undefined);
    assertEquals(JSON.parse(toJson(loaded)).seed, loaded.seed);
    assertEquals(Object.getOwnPropertySymbols(loaded), []);
  });
});

Deno.test("escape: a recipe that spoils its thread changes nothing outside", async () => {
  const spoil = `
    JSON.stringify = () => "{}";
    Array.prototype.map = () => [];
    Array.isArray = () => false;
    Object.keys = () => [];
    Object.freeze = (value) => value;
    Object.prototype.polluted = true;
    Map.prototype.get = () => 1;
    Promise.prototype.then = undefined;
    globalThis.toJSON = () => 1;`;
  const message = await refusal(valid(spoil));
  assert(message.startsWith("recipe.ts: ") || message.includes(" in recipe.ts:"), message);
  assertEquals(({} as { polluted?: true }).polluted, undefined);

  // What it forges is read like any other recipe.
  const forge = (json: string) => `JSON.stringify = () => ${JSON.stringify(json)};`;
  assertStringIncludes(
    await refusal(valid(forge('{"__proto__":{"seed":1},"teacher":{}}'))),
    "__proto__: expected one of the keys",
  );
  assertStringIncludes(
    await refusal(valid('JSON.stringify = () => "x".repeat(3e6);')),
    "longer than 1048576 characters",
  );
  assertStringIncludes(
    await refusal(
      valid("Array.isArray = () => true;", "({ length: 1, flatMap: () => [], map: () => [3] })"),
    ),
    "it answers with something else than a recipe",
  );
});

Deno.test("escape: a thrown thing is shown as text, shortened, without terminal codes", async () => {
  const long = await refusal('throw new Error("x".repeat(1e6));');
  assert(long.length < 5_000, `${long.length}`);
  const odd = await refusal(
    'throw Object.defineProperty(new Error("\\x1b]0;title\\x07"), "name", { value: {} });',
  );
  // deno-lint-ignore no-control-regex
  assert(!/[\x00-\x09\x0b-\x1f]/.test(odd), JSON.stringify(odd));
});

Deno.test("escape: lists of recipes are data like one", async () => {
  await withFiles({
    "list.ts": valid("", "[16, 32].map((context) => pipe(base, withContext(context)))"),
    "wrong.ts": valid("", "[base, { ...base, seed: -1 }, 3]"),
    "mod.ts": `export { recipe as default } from "${MOD}";`,
  }, async (path) => {
    const { recipes, list } = await loadRecipes(path("list.ts"));
    assert(list);
    assertEquals(recipes.map(({ stages }) => stages[0].context), [16, 32]);
    const one = await loadRecipe(path("list.ts")).catch(({ message }) => message);
    assertStringIncludes(
      one,
      "it holds a list of 2 recipes\nCompare them with `deno task compare`",
    );
    const wrong = await loadRecipes(path("wrong.ts")).catch(({ message }) => message);
    assertStringIncludes(wrong, "2 problems in");
    assertStringIncludes(wrong, "[1].seed: expected a whole number");
    assertStringIncludes(wrong, "[2]: expected a recipe, found 3");
    const suture = await loadRecipe(path("mod.ts")).catch(({ message }) => message);
    assertStringIncludes(suture, "recipe: expected a recipe, found a function");
  });
});
