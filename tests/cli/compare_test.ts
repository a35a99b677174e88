import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import {
  comparedRun,
  type Comparison,
  markdownOf,
  namesOf,
  plotOf,
  sharedFolder,
  tableRows,
} from "../../cli/comparison.ts";
import { moduleTitle } from "../../cli/recipe/module.ts";
import { radRwkv7 } from "../../dsl/mixers.ts";
import { layers } from "../../dsl/selectors.ts";
import { toJson } from "../../dsl/json.ts";
import { align } from "../../dsl/stages.ts";
import { match } from "../../dsl/trains.ts";
import type { Report } from "../../train/report.ts";
import { assertRefused, jsonOf, runTask } from "../support/task.ts";
import { temporaryFolder } from "../support/checkpoint.ts";
import { minuteRecipe, namesIn, steps, writeTeacher } from "../train/support.ts";
import { FLAGS } from "./convert_support.ts";

const MOD = new URL("../../mod.ts", import.meta.url).href;

/** A folder with a module that exports a list of what becomes of one recipe. */
function listOf(folder: string, recipe = minuteRecipe(folder)) {
  const json = toJson(recipe);
  return (name: string, ...transformations: string[]): string => {
    const path = join(folder, name);
    Deno.writeTextFileSync(
      path,
      `import * as suture from ${JSON.stringify(MOD)};
const { extend, fromJson, pipe, withFlags, withOutput, withStages, constant } = suture;
const base = fromJson(${JSON.stringify(json)});
export const first = base;
export default [${transformations.join(", ")}];
`,
    );
    return path;
  };
}

const compare = (...words: string[]) => runTask("compare", ...words, ...FLAGS);

Deno.test("compare: a row a recipe, what is done is not run again, one page and one drawing", async () => {
  using temporary = temporaryFolder();
  const { folder } = temporary;
  const write = listOf(folder);
  const out = (name: string) => `withOutput(${JSON.stringify(join(folder, "out", name))})`;
  const [first, second, third] = [
    `pipe(base, ${out("published")})`,
    `pipe(base, withFlags({ gate: 0 }), ${out("no-gate")})`,
    `pipe(base, withStages((s) => s.map((stage) => ({ ...stage, weightDecay: 1e25, warmup: 0,
      lr: constant(1) }))), ${out("astray")})`,
  ];
  const two = await compare(write("few.ts", first, second));
  assertEquals(two.code, 0, two.stderr);
  assertMatch(two.stderr, /^recipe 1 of 2: published\n(.*\n)*recipe 2 of 2: no-gate$/m);
  assertMatch(two.stdout, /^recipe +untrained +after align +after distill +tokens +seconds/m);
  const number = "[\\d.,]+";
  for (const name of ["published", "no-gate"]) {
    const row =
      `^${name}( +${number}){3} +320 +${number} +${number} +${number} KiB +${number} KiB$`;
    assertMatch(two.stdout, new RegExp(row, "m"));
  }
  assert(!two.stderr.includes("nothing to resume"), two.stderr);
  // Beside the outputs, called like the module.
  assertEquals(namesIn(join(folder, "out")), [
    ...["few.json", "few.md", "few.svg", "no-gate", "published"],
  ]);

  const report = (name: string) => Deno.readTextFileSync(join(folder, "out", name, "report.json"));
  const before = report("published");
  const again = await compare(
    write("more.ts", first, second, third),
    "--out",
    join(folder, "page"),
    "--json",
  );
  const comparison = jsonOf(again, 1);
  assertEquals(report("published"), before);
  assert(!/^align .*step/m.test(again.stderr.split("recipe 3 of 3")[0]), again.stderr);
  assertEquals(comparison, JSON.parse(Deno.readTextFileSync(join(folder, "page.json"))));
  const [published, noGate, astray] = comparison.recipes;
  const { stages, student } = JSON.parse(before);
  assertEquals(published.stages.map(({ ratio }: { ratio: number }) => ratio), [
    stages[0].ratio,
    stages[1].ratio,
  ]);
  assertEquals(published.seconds, stages[0].seconds + stages[1].seconds);
  assertEquals(published.parameters, student.parameters);
  assert(noGate.parameters < published.parameters, "a gate has parameters");
  assertMatch(astray.failed, /^stage align, step 2 of 6: the loss is /);
  const page = Deno.readTextFileSync(join(folder, "page.md"));
  assertMatch(page, /^ {4}deno task compare .*more\.ts --out .*page --threads 1 --blas none$/m);
  assertMatch(page, /^\| astray +\| failed/m);
  assert(page.includes("](page.svg)"));
  assertMatch(Deno.readTextFileSync(join(folder, "page.svg")), /^<svg (.|\n)*<circle /);
});

Deno.test("compare: all that is wrong with the recipes, before any of them is run", async () => {
  using temporary = temporaryFolder();
  const { folder } = temporary;
  const write = listOf(folder);
  const surgery = `{ layers: { kind: "first", count: 7 }, mixer: base.surgery[0].mixer }`;
  const same = `pipe(base, withOutput(base.output.replace("/out", "/./out/")))`;
  const wrong = write("wrong.ts", "base", `extend(base, { surgery: [${surgery}] })`, same);
  const nowhere = `extend(base, { data: suture.text("nowhere/*.txt") })`;
  const apart = `pipe(base, withOutput("/nowhere/out"))`;
  const [some, data, one, unshared, invalid, empty, convert] = await Promise.all([
    compare(wrong),
    compare(write("data.ts", "base", `withOutput("out/other")(${nowhere})`)),
    compare(`${write("one.ts", "base")}#first`),
    compare(write("apart.ts", "base", apart)),
    compare(write("invalid.ts", "base", "{ ...base, seed: -1 }")),
    compare(write("empty.ts")),
    runTask("convert", write("list.ts", "base", "base"), ...FLAGS),
  ]);
  assertRefused(
    some,
    "3 problems in the recipes:",
    "[1].output: expected an output of its own, found that of ",
    "[1].surgery[0].layers: expected at most the model's 2 layers, found 7",
    "[2].output: expected an output of its own",
  );
  assertRefused(
    data,
    "[1].data: nowhere/*.txt: expected at least one file, found none that matches",
  );
  assertRefused(one, "it is one recipe, and no list of them\nRun it with: deno task convert ");
  assertRefused(unshared, "--out: expected a prefix, found outputs that share no folder: ");
  assertRefused(invalid, "[1].seed: expected a whole number from 0");
  assertRefused(empty, "expected a recipe, found an empty list");
  assertRefused(
    convert,
    "list.ts: it holds a list of 2 recipes\nCompare them with `deno task comp",
  );
  assertEquals(namesIn(folder)?.filter((name) => name.startsWith("out")), []);
});

Deno.test("check, compare and convert: what a teacher had converted already is not aligned", async () => {
  using temporary = temporaryFolder();
  const { folder } = temporary;
  // Layer 0 is the teacher's own.
  const recipe = minuteRecipe(folder, {
    surgery: [layers.only(1).to(radRwkv7())],
    stages: [align(steps(2, { trains: match("model.layers.0.self_attn.*") }))],
  });
  writeTeacher(join(folder, "teacher"), {
    ...{ model_type: "rwkv7qwen2", num_attention_layers: 1, attention_bias: true },
    ...{ use_rope: true, balance_state: false, groupnorm_att: true, gate_rank_type: 2 },
    ...{ lora_rank_decay: 32, lora_rank_iclr: 32, lora_rank_value_residual_mix: 32 },
    lora_rank_gate: 32,
  });
  const one = join(folder, "one.json");
  Deno.writeTextFileSync(one, toJson(recipe));
  const [checked, compared, converted] = await Promise.all([
    runTask("check", one, "--json"),
    compare(listOf(folder, recipe)("list.ts", "base")),
    runTask("convert", one, ...FLAGS),
  ]);
  const expected = "stages[0].trains: expected at least one tensor of the converted layers' mixers";
  const { problems } = jsonOf(checked, 1);
  assertEquals(problems.length, 1);
  assertStringIncludes(`${problems[0].path}: ${problems[0].message}`, expected);
  assertRefused(compared, `[0].${expected}`);
  assertRefused(converted, expected);
});

Deno.test("compare: tables are called after the module, in the folder that the outputs share", () => {
  const titles = {
    "recipes/few.ts": "few",
    "a.ts#0.5B": "a-0.5B",
    "dir.d/x.y.ts#a": "x.y-a",
    "dir.d/x.y.ts#b": "x.y-b",
    "https://example.org/recipes/few.ts?version=1.2#top": "few",
    "https://example.org/few.js": "few",
  };
  for (const [specifier, title] of Object.entries(titles)) {
    assertEquals(moduleTitle(specifier), title, specifier);
  }
  assertEquals(sharedFolder(["out/a", "out/b"]), "out");
  assertEquals(sharedFolder(["out/a", "./out/b", "out/deep/c"]), "out");
  assertEquals(sharedFolder(["out/a", "other/b"]), "");
  assertEquals(sharedFolder(["out/a"]), "out");
  assertEquals(sharedFolder(["outer/a", "out/b"]), "");
  assertEquals(sharedFolder(["/x/out/a", "/x/out/b/c"]), "/x/out");
  assertEquals(sharedFolder(["/x/a", "/y/b"]), undefined);
  assertEquals(sharedFolder([join(Deno.cwd(), "out/a"), "out/b"]), join(Deno.cwd(), "out"));
});

Deno.test("compare: --help", async () => {
  const { code, stdout } = await runTask("compare", "--help");
  assertEquals(code, 0);
  for (const word of ["RECIPES", "--out", "--checkpoint-every", "--device", "--json"]) {
    assert(stdout.includes(`  ${word} `), word);
  }
});

/** A report of two stages. */
function report(changes: Partial<Report> = {}): Report {
  const stage = (name: string, ratio: number, tokens: number) => {
    return { name, loss: 1, perplexity: 20 * ratio, ratio, context: 16, tokens, seconds: 2.5 };
  };
  const inference = {
    parameters: 1234,
    stateBytesAt1K: 2048,
    stateBytesAt32K: 2048,
    tokensPerSecond: 10,
    sample: "",
  };
  return {
    teacher: { tokens: 100, loss: 1, perplexity: 20, context: 16, ...inference },
    student: { loss: 1, perplexity: 22, context: 16, ...inference },
    untrained: stage("untrained", 8, 0),
    stages: [stage("align", 1.5, 1000), stage("distill", 1.1, 500)],
    prompt: "",
    heldOutTokens: 100,
    trainingTokens: 1000,
    seconds: 10,
    peakMemory: { device: 1e6, process: 2e8 },
    machine: { name: "a machine", cores: 2, os: "linux" },
    device: "cpu",
    versions: {},
    recipeHash: "abc",
    seed: 0,
    ...changes,
  };
}

const kept = { layers: [1], errors: [{ layer: 0, error: 0.25 }, { layer: 1, error: 0.5 }] };
const COMPARISON: Comparison = {
  command: "deno task compare x.ts",
  recipes: [
    comparedRun("a", "out/a", report()),
    comparedRun("b|c", "out/b", report({ keptAttention: kept })),
    { name: "d", output: "out/d", failed: "it is gone" },
  ],
};

Deno.test("comparison: rows have a column a stage; recipes with other stages are numbered", () => {
  const [head, first] = tableRows(COMPARISON);
  assertEquals(head.slice(0, 4), ["recipe", "untrained", "after align", "after distill"]);
  assertEquals(first, [
    ...["a", "8.0000", "1.5000", "1.1000", "1,500", "5.0", "1,234", "2.0 KiB", "2.0 KiB"],
  ]);
  const { stages } = report();
  const short = comparedRun("short", "out/s", report({ stages: [stages[1]] }));
  const rows = tableRows({ ...COMPARISON, recipes: [COMPARISON.recipes[0], short] });
  assertEquals(rows[0].slice(2, 4), ["after stage 1", "after distill"]);
  assertEquals(rows[2].slice(2, 5), ["1.1000", "", "500"]);
});

Deno.test("comparison: perplexities where there is no teacher", () => {
  const { ratio: _, ...untrained } = report().untrained;
  const stages = report().stages.map(({ ratio: _, ...stage }) => stage);
  const made = comparedRun("new", "out/n", report({ teacher: undefined, untrained, stages }));
  const comparison = { ...COMPARISON, recipes: [made] };
  assertEquals(tableRows(comparison)[1].slice(1, 4), ["160.000", "30.000", "22.000"]);
  assertEquals(plotOf(comparison).rows[0].values, [30, 22]);
});

Deno.test("comparison: the page has what was kept and what failed, and is as deno fmt would have it", async () => {
  const page = markdownOf("x", COMPARISON, "x.svg");
  assert(
    page.includes("- b|c keeps attention in layers 1 (stage-1 errors 0: 0.25000, 1: 0.50000)"),
  );
  assert(page.includes("- d: it is gone") && page.includes("| b\\|c "));
  using temporary = temporaryFolder();
  const path = join(temporary.folder, "x.md");
  Deno.writeTextFileSync(path, page);
  const command = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--check", "--line-width", "100", path],
  });
  const { success, stderr } = await command.output();
  assert(success, new TextDecoder().decode(stderr));
});

Deno.test("comparison: recipes are called by the last part of their outputs where that is enough", () => {
  const named = (...outputs: string[]) => namesOf(outputs.map((output) => ({ output })));
  assertEquals(named("out/a", "out/b/"), ["a", "b"]);
  assertEquals(named("one/a", "two/a"), ["one/a", "two/a"]);
});
