import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { loadRecipe, RecipeModuleError } from "../../../cli/recipe/module.ts";
import { FormatError } from "../../../formats/error.ts";
import { hash, RecipeError, toJson } from "../../../mod.ts";
import { conversion } from "../../dsl/example.ts";
import { MOD, refusal, ROOT, valid, withFiles } from "./support.ts";

Deno.test("loadRecipe: a module outside of the project, and others that it imports", async () => {
  await withFiles({
    "base.ts": valid(),
    "recipe.ts": `import base from "./base.ts"; import { withSeed } from "${MOD}";
      import size from "./size.json" with { type: "json" };
      export default withSeed(size.seed)(base);`,
    "plain.js": `export { default } from "./base.ts";`,
    "size.json": `{ "seed": 7 }`,
  }, async (path) => {
    const base = await loadRecipe(path("base.ts"));
    assertEquals(base.output, "out/example");
    assert(Object.isFrozen(base.surgery[0].layers));
    assertEquals((await loadRecipe(path("recipe.ts"))).seed, 7);
    assertEquals(await loadRecipe(path("plain.js")), base);
    assertEquals(await loadRecipe(`file://${path("base.ts")}`), base);
  });
});

Deno.test("loadRecipe: a module inside of the project, by relative imports", async () => {
  const folder = await Deno.makeTempDir({
    dir: new URL("tests/cli", ROOT).pathname,
    prefix: "recipe-",
  });
  try {
    await Deno.writeTextFile(`${folder}/base.ts`, valid().replace(MOD, "../../../mod.ts"));
    const source = `import base from "./base.ts"; export default base;`;
    await Deno.writeTextFile(`${folder}/recipe.ts`, source);
    assertEquals((await loadRecipe(`${folder}/recipe.ts`)).output, "out/example");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("loadRecipe: imports reach the recipe's own project, and no further", async () => {
  const files = {
    "base.ts": valid(),
    "deep/er/recipe.ts": 'export { default } from "../../base.ts";',
  };
  await withFiles({ ...files, "deno.json": "{}" }, async (path) => {
    assertEquals((await loadRecipe(path("deep/er/recipe.ts"))).output, "out/example");
  });
  await withFiles(files, async (path) => {
    const error = await assertRejects(
      () => loadRecipe(path("deep/er/recipe.ts")),
      RecipeModuleError,
    );
    assertStringIncludes(
      error.message,
      `${path("base.ts")}: it is outside of the recipe's project`,
    );
  });
});

Deno.test("loadRecipe: JSON", async () => {
  await withFiles({
    "good.json": toJson(conversion),
    "bad.json": toJson(conversion).replace('"context": 256', '"context": 100'),
    "polluted.json": toJson(conversion).replace("{", '{"__proto__": { "seed": 1 },'),
    "broken.json": "{",
  }, async (path) => {
    assertEquals(hash(await loadRecipe(path("good.json"))), hash(conversion));
    const load = (name: string) =>
      assertRejects(() => loadRecipe(path(name)), RecipeError, path(name));
    assertStringIncludes(
      (await load("bad.json")).message,
      "stages[0].context: expected a multiple of 16, found 100",
    );
    assertStringIncludes(
      (await load("polluted.json")).message,
      "__proto__: expected one of the keys",
    );
    assertStringIncludes((await load("broken.json")).message, "recipe: expected JSON");
  });
});

Deno.test("loadRecipe: an export by its name, which need not be an identifier", async () => {
  const others = `
    const large = pipe(base, withContext(1024));
    export const small = pipe(base, withContext(64));
    export { large as "0.5B" };`;
  await withFiles({ "re#cipe.ts": valid(others), "r.json": toJson(conversion) }, async (path) => {
    const contextOf = async (specifier: string) => (await loadRecipe(specifier)).stages[0].context;
    assertEquals(await contextOf(path("re#cipe.ts")), 512);
    assertEquals(await contextOf(path("re#cipe.ts#small")), 64);
    assertEquals(await contextOf(path("re#cipe.ts#0.5B")), 1024);
    const refused = (name: string) =>
      assertRejects(() => loadRecipe(path(name)), RecipeModuleError);
    assertStringIncludes(
      (await refused("re#cipe.ts#7B")).message,
      're#cipe.ts#7B: it has no export named "7B"\nIt exports 0.5B, default, small. Pick',
    );
    assertStringIncludes(
      (await refused("r.json#7B")).message,
      "a .json file holds one recipe, without a name",
    );
  });
});

Deno.test("loadRecipe: names that are no recipe", async () => {
  const message = async (specifier: string) => {
    return (await assertRejects(() => loadRecipe(specifier), RecipeModuleError)).message;
  };
  assertStringIncludes(
    await message("no/such.ts"),
    "no/such.ts: there is no such file\nCheck the path",
  );
  assertStringIncludes(
    await message("recipes/quikstart.ts"),
    "recipes/quikstart.ts: there is no such file\nDid you mean recipes/quickstart.ts?",
  );
  assertStringIncludes(
    await message("recipe.yaml"),
    "is not named like a recipe\nA recipe is a .ts",
  );
  assertStringIncludes(await message("npm:x"), "npm: is no place for recipes\nName a file");
  await withFiles({ "folder.ts/x.ts": "" }, async (path) => {
    assertStringIncludes(
      await message(path("folder.ts")),
      "is not a file\nName a recipe inside it",
    );
    await assertRejects(
      () => loadRecipe(path("folder.ts/x.ts/y.ts")),
      FormatError,
      "folder.ts/x.ts/y.ts: expected a file that can be read, found a file where a folder should be",
    );
  });
});

Deno.test("loadRecipe: modules that give no recipe say why and what to do", async () => {
  const cases: readonly (readonly [source: string, ...expected: readonly string[]])[] = [
    ["export const recipe = 1;", "it has no default export", "exports recipe", "FILE#NAME"],
    ["", "it has no default export", "exports nothing", "export default recipe({ … });"],
    ["const x: = 1;", "SyntaxError: Unexpected token\n    at recipe.ts:1:10", "`deno task check`"],
    ['import "./nowhere.ts";', '"./nowhere.ts" at recipe.ts:1:8: nowhere.ts: there is no such'],
    ['import { nothing } from "./recipe.ts"; export default nothing;', "itself in a circle"],
    [`import { nothing } from "${MOD}"; nothing`, "SyntaxError", "nothing", "recipe.ts:1:10"],
    ['throw new RangeError("b\\x1b[31mad\\x07");', "RangeError: bad\n", "recipe.ts:1:7"],
    ["throw 3;", "Thrown: 3"],
    ['Promise.reject(new Error("left alone")); await new Promise(() => {});', "Error: left alone"],
    ["missing();", "ReferenceError: missing is not defined", "recipe.ts:1:1"],
    ["export default null;", "recipe: expected a recipe, found null"],
    ["export default [];", "recipe: expected a recipe, found an empty list"],
    ["export default () => 1;", "recipe: expected a recipe, found a function"],
    [valid("", "() => base"), "recipe: expected a recipe, found a function"],
    [
      valid("", "{ ...base, output: () => 1 }"),
      "output: expected the path of a directory, found a fun",
    ],
    [valid("", "Promise.resolve(base)"), "teacher: expected", "found nothing"],
    ["const a = {}; a.teacher = a; a.data = [a]; export default a;", "teacher.kind: expected"],
    [
      valid('const odd = JSON.parse(`{"__proto__": {}}`);', "{ ...base, ...odd }"),
      "__proto__: expected",
    ],
  ];
  for (const [source, ...expected] of cases) {
    const message = await refusal(source);
    for (const part of expected) assertStringIncludes(message, part);
    assert(!message.includes("\x1b"), message);
  }
});

Deno.test("loadRecipe: a RecipeError has all of its problems", async () => {
  await withFiles({ "recipe.ts": valid("", "pipe(base, withContext(100))") }, async (path) => {
    const error = await assertRejects(() => loadRecipe(path("recipe.ts")), RecipeError);
    assertEquals(error.problems, [{
      path: "stages[0].context",
      expected: "a multiple of 16",
      found: "100",
    }]);
    assertEquals(
      error.message,
      `1 problem in ${
        path("recipe.ts")
      }:\n  stages[0].context: expected a multiple of 16, found 100`,
    );
  });
});

/**
 * Loads a module in a process of its own and gives what it says at the end: Deno cannot interrupt a
 * worker that is in a loop, so its thread would go on beside the other tests. Where the module gives
 * a recipe, it is waited until its thread has ended.
 */
async function outcomeAlone(source: string, limits: string, ...flags: string[]): Promise<string> {
  let text = "";
  await withFiles({
    "recipe.ts": source,
    "load.ts": `
      import { loadRecipe } from "${new URL("cli/recipe/module.ts", ROOT)}";
      const isWorker = ({ name }) => {
        try { return Deno.readTextFileSync(\`/proc/self/task/\${name}/comm\`).startsWith("worker-"); }
        catch { return false; }
      };
      try {
        await loadRecipe(Deno.args[0], ${limits});
        for (let i = 0; [...Deno.readDirSync("/proc/self/task")].some(isWorker); i++) {
          if (i === 100) throw new Error("its thread goes on");
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        console.log("its thread has ended");
      } catch (error) { console.log(error.message); }
      Deno.exit(2);`,
  }, async (path) => {
    const config = new URL("deno.json", ROOT).pathname;
    const all = flags.length > 0 ? flags : ["-A"];
    const args = [
      "run",
      "--no-check",
      "--config",
      config,
      ...all,
      path("load.ts"),
      path("recipe.ts"),
    ];
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
    text = new TextDecoder().decode(stdout);
    assertEquals(code, 2, text + new TextDecoder().decode(stderr));
  });
  return text;
}

Deno.test("loadRecipe: a loop without end is given up", async () => {
  const message = await outcomeAlone("for (;;);", "{ seconds: 0.5 }");
  assertStringIncludes(message, "it gave no recipe within 0.5 seconds\nA recipe only describes");
});

Deno.test("loadRecipe: what goes on after the recipe was given is given up too", async () => {
  const later = (loop: string) =>
    `(async () => { for (let i = 0; i < 50; i++) await 0; ${loop} })();`;
  const again = "const again = () => Promise.resolve().then(again); again();";
  for (const source of [later("for (;;);"), again]) {
    const message = await outcomeAlone(valid(source), "{ seconds: 1 }");
    assertStringIncludes(message, "it gave no recipe within 1 seconds\nA recipe only describes");
  }
  const arrays = later("const all = []; for (;;) all.push(new Uint8Array(1e6).fill(1));");
  const message = await outcomeAlone(valid(arrays), "{ memory: 128 }");
  assertStringIncludes(message, "it used more than 128 MiB\nA recipe only describes");
});

Deno.test("loadRecipe: nothing runs once the recipe is given", async () => {
  const loop = "Promise.resolve().then(() => { for (;;); })";
  const sources = [
    "",
    // The answer itself, which is read when it is sent.
    `Object.defineProperty(Object.prototype, "then", { get() {
      if (this.recipes) Object.defineProperty(this, "list", { enumerable: true, get() { ${loop}; } });
    } });`,
  ];
  for (const source of sources) {
    assertEquals(await outcomeAlone(valid(source), "{ seconds: 10 }"), "its thread has ended\n");
  }
  // What Deno calls of its own accord.
  const hook = "globalThis.dispatchEvent = () => {};";
  assertStringIncludes(await refusal(hook), "TypeError: Cannot assign to read only property");
  const listen = 'globalThis.addEventListener("unhandledrejection", () => {});';
  assertStringIncludes(await refusal(listen), "globalThis.addEventListener is not a function");
});

Deno.test("loadRecipe: allocation without end is given up", async () => {
  const arrays = "const all = []; for (;;) all.push(new Array(1e5).fill(Math.random()));";
  const buffers = "const all = []; for (;;) all.push(new Uint8Array(1e6).fill(1));";
  for (const source of [arrays, buffers]) {
    const message = await outcomeAlone(source, "{ memory: 128 }");
    assertStringIncludes(message, "it used more than 128 MiB\nA recipe only describes");
  }
});

Deno.test("loadRecipe: a recipe is given up before V8 ends the process for it", async () => {
  const arrays = "const all = []; for (;;) all.push(new Array(1e5).fill(Math.random()));";
  const heap = "--v8-flags=--max-old-space-size=200";
  const message = await outcomeAlone(arrays, "{ seconds: 60 }", "-A", heap);
  const [, limit] = /it used more than (\d+) MiB/.exec(message) ?? [];
  assert(Number(limit) < 200, message);
});

Deno.test("loadRecipe: a recipe that waits is given up", async () => {
  await withFiles({ "recipe.ts": "await new Promise(() => {});" }, async (path) => {
    const load = () => loadRecipe(path("recipe.ts"), { seconds: 0.5 });
    await assertRejects(load, RecipeModuleError, "it gave no recipe within 0.5 seconds");
  });
});

Deno.test("loadRecipe: says which permission it needs itself", async () => {
  for (const flag of ["--allow-env", `--allow-read=${new URL("cli", ROOT).pathname}`]) {
    const message = await outcomeAlone(valid(), "{}", flag);
    assertStringIncludes(message, "this process may not read it\nGive Deno --allow-read");
  }
});
