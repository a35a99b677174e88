import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import type { Recipe } from "../../dsl/recipe.ts";
import { fromJson, toJson } from "../../dsl/json.ts";
import { align, distill } from "../../dsl/stages.ts";
import { teacher } from "../../dsl/teachers.ts";
import { inspectTeacher } from "../../cli/checkpoints.ts";
import { FormatError } from "../../formats/error.ts";
import {
  COMMIT,
  hubFile,
  NAME,
  type Place,
  repository,
  teacherFiles,
  withHub,
} from "../hub/support.ts";
import { assertRefused, jsonOf, outputOf, runTask, runTaskWith } from "../support/task.ts";
import { wordsOf } from "../support/task_process.ts";
import { minuteRecipe, namesIn, steps } from "../train/support.ts";
import { FLAGS } from "./convert_support.ts";

const models = { [NAME]: repository() };

/** The hub and the cache of a test, and nothing of whoever runs it. */
const variables = ({ hub, folder }: Place) => ({
  HF_ENDPOINT: hub.endpoint,
  HF_HOME: folder,
  HF_HUB_CACHE: "",
  HF_TOKEN: "",
  HF_HUB_OFFLINE: "",
});

const run = (place: Place, name: string, ...args: readonly string[]) =>
  runTaskWith(variables(place), name, ...args);

/** A task of deno.json with the hub of the test in place of huggingface.co. */
function runReaching(place: Place, name: string, ...args: readonly string[]) {
  const words = wordsOf(name).map((word) =>
    word.startsWith("--allow-net=") ? "--allow-net=127.0.0.1" : word
  );
  return outputOf(Deno.execPath(), [...words, ...args], variables(place));
}

/** A recipe whose teacher is the hub's, written to a file. */
function namedRecipe({ folder }: Place, recipe: Recipe): string {
  const file = join(folder, "recipe.json");
  const teacher = { kind: "checkpoint", location: NAME };
  Deno.writeTextFileSync(file, JSON.stringify({ ...recipe, teacher }));
  return file;
}

Deno.test("fetch: --help, and a wrong command line", async () => {
  const [help, wrong, path] = await Promise.all([
    runTask("fetch", "--help"),
    runTask("fetch", "--colour", "red"),
    runTask("fetch", "./assets/teacher"),
  ]);
  assertEquals({ code: help.code, stderr: help.stderr }, { code: 0, stderr: "" });
  for (const word of ["NAME", "--json", "--help"]) assert(help.stdout.includes(`  ${word} `));
  assertRefused(wrong, 'there is no flag "--colour"');
  assertRefused(path, `NAME: expected a model's name, found "./assets/teacher"`);
});

Deno.test("fetch: two processes at once, then every command by the name", async () => {
  await withHub(models, async (place) => {
    place.hub.faults.push({ kind: "cut", after: 50 });
    const before = await run(place, "generate", NAME, "--prompt", "x");
    assertRefused(before, "no such model in the cache", `deno task fetch ${NAME}`);

    const both = await Promise.all([
      run(place, "fetch", NAME, "--json"),
      run(place, "fetch", `${NAME}@main`),
    ]);
    const report = jsonOf(both[0]);
    const folder = join(place.folder, "hub/models--suture--tiny-qwen2/snapshots", COMMIT);
    assertEquals([report.commit, report.folder], [COMMIT, folder]);
    assertEquals(both[1].code, 0, both[1].stderr);
    assert(both[1].stdout.includes(`${NAME} at commit ${COMMIT}`), both[1].stdout);
    const loaded = place.hub.log.filter(({ host, range }) => host === "storage" && range === null);
    assertEquals(loaded.length, 2, "the tokenizer and the weights, once each");

    const text = join(place.folder, "text.txt");
    Deno.writeTextFileSync(text, "The whale that night was white.\n".repeat(20));
    const generate = run(place, "generate", NAME, "--prompt", "The", "--tokens", "4", ...FLAGS);
    const evaluate = run(
      place,
      "evaluate",
      `${NAME}@${COMMIT}`,
      "--text",
      text,
      "--json",
      ...FLAGS,
    );
    const generated = await generate;
    assertEquals(generated.code, 0, generated.stderr);
    assert(generated.stderr.includes(`${NAME} at commit ${COMMIT}`), generated.stderr);
    assert(jsonOf(await evaluate).loss > 0);
  });
});

Deno.test("fetch: what the hub refuses is one clear error; a folder of the same name is told", async () => {
  const repositories = {
    "suture/gated": repository(undefined, { gated: true }),
    "assets/teacher": repository(),
  };
  await withHub(repositories, async (place) => {
    const [unknown, gated, offline, both] = await Promise.all([
      run(place, "fetch", NAME),
      run(place, "fetch", "suture/gated"),
      runTaskWith({ ...variables(place), HF_HUB_OFFLINE: "1" }, "fetch", NAME),
      run(place, "fetch", "assets/teacher"),
    ]);
    assertRefused(unknown, `${NAME}: expected a model on 127.0.0.1:`, "that is public (401)");
    assertRefused(gated, `found a gated model; accept its licence on ${place.hub.endpoint}`);
    assertRefused(offline, "found HF_HUB_OFFLINE set; unset it to download");
    assertEquals(both.code, 0, both.stderr);
    assertMatch(both.stderr, /^other commands take the folder assets\/teacher of this place/m);
  });
});

Deno.test("plan: a teacher on the hub by its config alone", async () => {
  await withHub(models, async (place) => {
    const recipe = minuteRecipe(place.folder, { stages: [align(steps(5))] });
    const file = namedRecipe(place, recipe);
    const before = namesIn(place.folder);
    const planned = await runReaching(place, "plan", file, "--json", "--blas", "none");
    assertEquals(jsonOf(planned).layers.length, 2);
    const files = place.hub.log.filter(({ path }) => path.includes("/resolve/"));
    assertEquals(files.map(({ path }) => path), [`/${NAME}/resolve/${COMMIT}/config.json`]);
    assertEquals(namesIn(place.folder), before);

    // A hub that the task may not reach.
    const denied = await run(place, "plan", file);
    assertRefused(denied, "and no such model in the cache", `deno task fetch ${NAME}`);
  });
});

Deno.test("plan: a converted model on the hub whose ranks only its tensors tell", async () => {
  const files = teacherFiles();
  const config = JSON.parse(new TextDecoder().decode(files.get("config.json")!.content));
  const flags = { use_rope: true, balance_state: false, groupnorm_att: true, gate_rank_type: 0 };
  const write = (ranks: object) => {
    const json = { ...config, ...flags, ...ranks, model_type: "rwkv7qwen2" };
    files.set("config.json", hubFile("config.json", JSON.stringify(json)));
  };
  const inspect = async () => {
    let spec;
    await withHub({ [NAME]: repository(files) }, async (place) => {
      ({ spec } = await inspectTeacher(teacher(NAME), place.options().settings));
    });
    return spec;
  };
  write({});
  await assertRejects(inspect, FormatError, "lora_rank_decay: expected a rank, since the weights");
  write({ lora_rank_decay: 8, lora_rank_iclr: 8, lora_rank_value_residual_mix: 8 });
  assert(await inspect() !== undefined);
});

Deno.test("convert: downloads its teacher, and says which commit it was", async () => {
  await withHub(models, async (place) => {
    const { folder } = place;
    const recipe = minuteRecipe(folder, { stages: [align(steps(2)), distill(steps(2))] });
    const samples = {
      ...{ kind: "samples", teacher: { kind: "checkpoint", location: NAME, revision: "main" } },
      ...{ tokens: 1500, temperature: 1, topP: 1, seed: 0, prompt: "" },
    };
    const data = [...recipe.data, samples] as Recipe["data"];
    const file = namedRecipe(place, { ...recipe, data });
    const done = await runReaching(place, "convert", file, "--json", ...FLAGS);
    assertEquals(jsonOf(done).stages.length, 2);
    assertMatch(done.stderr, new RegExp(`^${NAME} at commit ${COMMIT}$`, "m"));
    const teacher = { kind: "checkpoint", location: NAME, revision: COMMIT } as const;
    const written = fromJson(Deno.readTextFileSync(join(folder, "out/recipe.json")));
    assertEquals(written.teacher, teacher);
    assertEquals(written.data[1], { ...samples, teacher } as Recipe["data"][0]);

    // The result's own recipe, and the one it was made from, are done already.
    place.hub.log.length = 0;
    const again = await run(place, "convert", file, "--resume", ...FLAGS);
    assertEquals(again.code, 0, again.stderr);
    assert(again.stderr.includes("there is nothing to do"), again.stderr);
    assertEquals(toJson(written), Deno.readTextFileSync(join(folder, "out/recipe.json")));
    assertEquals(place.hub.log, []);
  });
});
