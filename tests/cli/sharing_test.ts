/** new, check, diff and fetch-recipe as they are run, with the permissions that they have. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { binidx, extend, hash, samples, teacher, text, toJson, tokens } from "../../mod.ts";
import { assertRefused, jsonOf, runTask, type TaskResult } from "../support/task.ts";
import { wordsOf } from "../support/task_process.ts";
import { conversion } from "../dsl/example.ts";
import { ROOT, valid, withFiles } from "./recipe/support.ts";

/** Runs a task's program in another folder than the repository. */
async function runIn(
  folder: string,
  task: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<TaskResult> {
  const [run, ...words] = wordsOf(task);
  const file = fileURLToPath(new URL(words.pop()!, ROOT));
  const config = fileURLToPath(new URL("deno.json", ROOT));
  const process = new Deno.Command(Deno.execPath(), {
    args: [run, "--config", config, ...words, file, ...args],
    cwd: folder,
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
  });
  const { code, stdout, stderr } = await process.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test("new, check, diff, fetch-recipe: --help, and a wrong command line", async () => {
  const tasks = {
    new: ["NAME"],
    check: ["RECIPE"],
    diff: ["A", "B"],
    "fetch-recipe": ["URL", "--lock-update"],
  };
  for (const [task, words] of Object.entries(tasks)) {
    const [help, wrong] = await Promise.all([runTask(task, "--help"), runTask(task)]);
    assertEquals({ code: help.code, stderr: help.stderr }, { code: 0, stderr: "" });
    for (const word of [...words, "--json", "--help"]) {
      assert(help.stdout.includes(`  ${word} `), `${help.stdout} lacks ${word}`);
    }
    assertRefused(wrong, `${task}: ${words[0]}: expected`, `Run \`deno task ${task} --help\``);
  }
});

Deno.test("new: a recipe that check has nothing against, and that is never overwritten", async () => {
  await withFiles({}, async (path) => {
    const folder = path(".");
    const made = await runIn(folder, "new", ["mine"]);
    assertEquals(made.code, 0, made.stderr);
    assertStringIncludes(made.stdout, "deno task check recipes/mine.ts");
    const source = Deno.readTextFileSync(path("recipes/mine.ts"));
    const check = await runIn(folder, "check", ["recipes/mine.ts"]);
    assertEquals(check.code, 0, check.stdout + check.stderr);
    assertStringIncludes(check.stdout, "recipes/mine.ts: nothing is wrong");
    assertStringIncludes(
      check.stdout,
      "not looked at: whether surgery and trains fit its layers: assets/teacher is not on this",
    );
    const again = await runIn(folder, "new", ["mine.ts"]);
    assertRefused(again, "found recipes/mine.ts; choose another");
    assertEquals(Deno.readTextFileSync(path("recipes/mine.ts")), source);
    assertRefused(await runIn(folder, "new", ["../mine"]), "NAME: expected letters, digits");
    assertEquals([...Deno.readDirSync(path("recipes"))].map(({ name }) => name), ["mine.ts"]);
  });
});

Deno.test("new, check: a file stands where they write", async () => {
  await withFiles({ "recipes": "", ".recipes": "", "r.ts": valid() }, async (path) => {
    const [made, checked, below] = [
      await runIn(path("."), "new", ["mine"]),
      await runIn(path("."), "check", ["r.ts"]),
      await runIn(path("."), "check", ["r.ts/x.ts"]),
    ];
    const found = "found a file where a folder should be; check the path";
    assertRefused(made, `recipes/mine.ts: expected to write this file, ${found}`);
    assertRefused(checked, `.recipes: expected to write this file, ${found}`);
    assertRefused(below, `r.ts/x.ts: expected a file that can be read, ${found}`);
  });
});

Deno.test("check: types, values and what does not fit the teacher, all with their paths", async () => {
  const wrong = `import { type Recipe } from "@suture/suture";
import base from "./base.ts";
const seed: number = "a";
export default { ...base, seed, output: 3 } satisfies Recipe;
`;
  const misfit = valid(
    "",
    `extend(base, {
    surgery: [layers.first(9).to(radRwkv7()), layers.only(7).to(radRwkv7())],
  })`,
  );
  const present = extend(conversion, { data: text("mod.ts") });
  await withFiles({
    "wrong.ts": wrong,
    "base.ts": valid(),
    "misfit.ts": misfit,
    "r.json": toJson(present),
  }, async (path) => {
    const [types, layers, json, away] = await Promise.all([
      runTask("check", path("wrong.ts"), "--json"),
      runTask("check", path("misfit.ts")),
      runTask("check", path("r.json"), "--json"),
      runTask("check", path("none.ts")),
    ]);
    const { problems } = jsonOf(types, 1);
    assertEquals(problems.map(({ path }: { path: string }) => path), [
      `${path("wrong.ts")}:3:7`,
      `${path("wrong.ts")}:4:33`,
      "output",
      "seed",
    ]);
    assertEquals(
      problems[0].message,
      "TS2322: Type 'string' is not assignable to type 'number'.",
    );
    assertEquals(problems[2].message, "expected the path of a directory, found 3");
    assertEquals(layers.code, 1, layers.stderr);
    assertEquals(
      layers.stdout,
      `3 problems in ${path("misfit.ts")}:
  surgery[0].layers: expected at most the model's 4 layers, found 9
  surgery[1].layers: expected layers from 0 to 3, or -4 to -1 from the end, found 7
  data: corpus/*.txt: expected at least one file, found none that matches; check the path and the pattern
`,
    );
    assertEquals(jsonOf(json).recipes, [{ hash: hash(present), output: "out/radrwkv7" }]);
    assertRefused(away, "none.ts: there is no such file");
  });
});

Deno.test("check: an unknown key is told once, where it stands", async () => {
  const wrong = `import { align, type Recipe } from "@suture/suture";
import base from "./base.ts";
export default { ...base, stages: [align({ contxt: 16 })], sed: 3 } satisfies Recipe;
`;
  await withFiles({ "wrong.ts": wrong, "base.ts": valid() }, async (path) => {
    const { problems } = jsonOf(
      await runIn(path("."), "check", ["wrong.ts", "--json"]),
      1,
    );
    assertEquals(problems.map(({ path }: { path: string }) => path), [
      "wrong.ts:3:44",
      "wrong.ts:3:60",
    ]);
    assertStringIncludes(problems[0].message, "'contxt' does not exist in type");
  });
});

Deno.test("check: what is named and not there, and what cannot be looked at", async () => {
  const named = teacher("Qwen/Qwen2.5-7B-Instruct");
  const typo = teacher("Qwen/Qwen2.5-7B-Instrukt");
  await withFiles({
    "known.json": toJson(extend(conversion, {
      teacher: named,
      surgery: [{ ...conversion.surgery[0], layers: { kind: "first", count: 29 } }],
      data: text("a.txt"),
    })),
    "typo.json": toJson(extend(conversion, { teacher: typo, data: text("a.txt") })),
    "path.json": toJson(extend(conversion, {
      teacher: teacher("./nowhere"),
      data: [binidx("tokens"), samples(typo, tokens("1M"))],
    })),
    "a.txt": "Once.",
  }, async (path) => {
    const check = (file: string) =>
      runIn(path("."), "check", [file, "--json"], { HF_HUB_CACHE: path("hub") });
    const [known, mistyped, nowhere] = await Promise.all(
      ["known.json", "typo.json", "path.json"].map(check),
    );
    assertEquals(jsonOf(known, 1).problems, [{
      path: "surgery[0].layers",
      message: "expected at most the model's 28 layers, found 29",
    }]);
    assertEquals(jsonOf(mistyped).notLookedAt, [
      "whether surgery and trains fit its layers: Qwen/Qwen2.5-7B-Instrukt is not on this machine",
    ]);
    const { problems, notLookedAt } = jsonOf(nowhere, 1);
    assertEquals(problems.map(({ path }: { path: string }) => path), ["teacher", "data[0]"]);
    assertStringIncludes(problems[0].message, 'found "./nowhere"');
    assertStringIncludes(problems[1].message, "tokens.idx: expected a file that can be read");
    assertEquals(notLookedAt, [
      "whether it writes samples: Qwen/Qwen2.5-7B-Instrukt is not on this machine",
    ]);
  });
});

Deno.test("diff: layers of a teacher that is in the Hugging Face cache", async () => {
  await withFiles({
    "a.ts": valid("", 'extend(base, { teacher: teacher("some/model") })'),
    "b.ts": valid(
      "",
      'extend(base, { teacher: teacher("some/model"), surgery: [layers.first(2).to(radRwkv7())] })',
    ),
    "hub/models--some--model/refs/main": "0123456789012345678901234567890123456789",
    "hub/models--some--model/snapshots/0123456789012345678901234567890123456789/config.json": Deno
      .readTextFileSync(new URL("assets/teacher/config.json", ROOT)),
  }, async (path) => {
    const diff = await runIn(path("."), "diff", [path("a.ts"), path("b.ts")], {
      HF_HUB_CACHE: path("hub"),
    });
    assertEquals(
      diff.stdout.replace(/\(.*\)/, ""),
      "layers[2]\n  - radRwkv7\n  + attention\n",
      diff.stderr,
    );
  });
});

Deno.test("diff: exit code 0 or 1 like diff(1), and 2 for what is no recipe", async () => {
  const spam = "for (let i = 0; i < 1e4; i++) console.log(i, console.error(i));";
  await withFiles(
    { "a.ts": valid(spam), "b.ts": valid("", "({ ...base, seed: 1 })") },
    async (path) => {
      const [same, other, json, wrong] = await Promise.all([
        runTask("diff", path("a.ts"), path("a.ts"), "--json"),
        runTask("diff", path("a.ts"), path("b.ts")),
        runTask("diff", path("a.ts"), path("b.ts"), "--json"),
        runTask("diff", path("a.ts"), path("c.ts")),
      ]);
      assertEquals(jsonOf(same).differences, []);
      assertEquals(same.stderr, "");
      assertEquals([other.code, other.stdout, other.stderr], [1, "seed: 0 -> 1\n", ""]);
      const { layers, differences } = jsonOf(json, 1);
      assertEquals([layers, differences], [4, [{ path: "seed", from: "0", to: "1" }]]);
      assertRefused(wrong, "c.ts: there is no such file");
    },
  );
});

Deno.test("fetch-recipe: fetches, locks, and the other commands find it without a network", async () => {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => new Response(valid("", "base", "@suture/suture")),
  );
  const url = `http://127.0.0.1:${server.addr.port}/r.ts`;
  try {
    await withFiles({ "corpus/a.txt": "Once." }, async (path) => {
      const folder = path(".");
      const before = await runIn(folder, "diff", [url, url]);
      assertRefused(before, `${url}: it is not in recipes.lock`, `deno task fetch-recipe ${url}`);
      const fetched = await runIn(folder, "fetch-recipe", [url]);
      assertEquals(fetched.code, 0, fetched.stderr);
      assert(/^new +[0-9a-f]{16} +http:/m.test(fetched.stdout), fetched.stdout);
      assertStringIncludes(fetched.stderr, "recipes.lock was written");
      const again = await runIn(folder, "fetch-recipe", [url, "--json"]);
      assertEquals(jsonOf(again).modules[0].state, "as locked");
      assertEquals(again.stderr, "");
      await server.shutdown();
      const [diff, check] = [
        await runIn(folder, "diff", [url, url]),
        await runIn(folder, "check", [url]),
      ];
      assertEquals([diff.code, diff.stdout], [0, ""], diff.stderr);
      assertEquals(check.code, 0, check.stdout + check.stderr);
    });
  } finally {
    await server.shutdown();
  }
});
