import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { timeText } from "../../cli/plan/text.ts";
import { toJson } from "../../dsl/json.ts";
import { constant, cosineBetween } from "../../dsl/schedules.ts";
import { align, distill } from "../../dsl/stages.ts";
import { temporaryFolder } from "../support/checkpoint.ts";
import { assertRefused, jsonOf, runTask } from "../support/task.ts";
import { minuteRecipe, namesIn, steps } from "../train/support.ts";

const plan = (...words: string[]) => runTask("plan", ...words, "--blas", "none");

Deno.test("plan: layers, stages, sums, as people and as programs read them", async () => {
  using own = temporaryFolder();
  const recipe = minuteRecipe(own.folder, {
    stages: [
      align(steps(5)),
      distill(steps(7, { accumulate: 2, mixerLr: cosineBetween(1e-2, 1e-3, 0.5, 0.75) })),
    ],
  });
  const file = join(own.folder, "recipe.json");
  Deno.writeTextFileSync(file, toJson(recipe));
  // A plan does not read the data.
  Deno.removeSync(join(own.folder, "text.txt"));
  const before = namesIn(own.folder);
  const [people, json] = [await plan(file), await plan(file, "--json")];
  assertEquals(people.code, 0, people.stderr);
  const head = "layers +from +to +parameters +copied +bytes +FLOPs/token +state at 32K";
  assertMatch(people.stdout, new RegExp(`^${head}$`, "m"));
  assertMatch(people.stdout, /^1 +attention +RAD-RWKV7 +.*512 B$/m);
  assertMatch(people.stdout, /^RAD-RWKV7: rope, groupnorm, gate 2; ranks [\d/]+$/m);
  assertMatch(
    people.stdout,
    /^align +align +5 +160 +16 +2 +[\d.]+ K +[\d.]+ [MG] +(0:\d\d|<1 s)$/m,
  );
  assertMatch(people.stdout, /^distill +distill +7 +224 +16 +2 +/m);
  assertMatch(
    people.stdout,
    /^distill: learning rate constant 1e-3, mixers cosineBetween 0\.01\.\.1e-3 from 0\.5 to 0\.75$/m,
  );
  assertMatch(people.stdout, /^student: [\d.]+ K parameters, .* in f32, state at 32K 1\.0 KiB$/m);
  assertMatch(people.stdout, /^teacher: [\d.]+ K parameters, state at 32K 4\.0 MiB$/m);
  assertMatch(people.stdout, /^training: [\d.]+ [MG] FLOPs, (\d:\d\d|<1 s)$/m);
  assertMatch(
    people.stdout,
    /^times are for this machine, .*: align [\d.]+ [MG]FLOP\/s, distill /m,
  );
  assertMatch(people.stdout, /^distill +[\d.]+ KiB .* yes$/m);

  const report = jsonOf(json);
  assertEquals(report.layers.length, 2);
  for (const { parameters, copied, flopsPerToken, stateBytes } of report.layers) {
    assert(parameters > copied && copied > 0 && stateBytes === 512);
    // Every weight is used once, by a multiplication and an addition; the recurrence comes on top.
    assert(flopsPerToken > 2 * copied && flopsPerToken < 10 * parameters, `${flopsPerToken}`);
  }
  const [first, second] = report.stages;
  assertEquals([first.lr, first.mixerLr], [constant(1e-3), undefined]);
  assertEquals(second.mixerLr, cosineBetween(1e-2, 1e-3, 0.5, 0.75));
  for (const { seconds, memory, trained, fits, dollars } of [first, second]) {
    assert(seconds > 0 && fits && dollars === 0);
    assertEquals([memory.gradients, memory.optimizer], [4 * trained, 8 * trained]);
    assert(memory.activations === memory.kept && memory.rematerialised <= memory.kept);
  }
  assert(second.flops > first.flops);
  assertEquals(report.parameters, second.trained);
  assertEquals(namesIn(own.folder), before);
});

Deno.test("plan: a teacher without weights, for a fleet, beside the paper's hours", async () => {
  const on = (fleet: string, ...more: string[]) =>
    plan("recipes/qrwkv7.ts", "--on", fleet, ...more);
  const [people, json] = await Promise.all([
    on("8x MI300X"),
    on("h100", "--price", "2", "--json"),
  ]);
  assertEquals(people.code, 0, people.stderr);
  assertMatch(people.stdout, /^0 +attention +RAD-RWKV7 .*\n1-27 +attention +RAD-RWKV7 /m);
  const [layers] = people.stdout.split("\n\n");
  assert(layers.split("\n").every((line) => line.length <= 100), layers);
  const align = /^align +align +6103 +99\.99 M +512 +32 .* 0\.75 h +[+−±]\d+ % +\$\d+\.\d\d$/m;
  assertMatch(people.stdout, align);
  assertMatch(people.stdout, /the paper reports 7\.25 h, [+−±]\d+ %$/m);
  assertMatch(
    people.stdout,
    /^8x MI300X: align .* fitted to the paper's hours .* an hour of a device/m,
  );

  const { teacher, parameters, stages, fleet } = jsonOf(json);
  // The published checkpoint has 7,615,616,512 parameters.
  assertEquals(teacher.parameters, 7_615_616_512);
  assert(parameters > teacher.parameters);
  assertEquals([fleet.name, fleet.devices, fleet.price], ["1x H100", 1, 2]);
  const [, distill] = stages;
  assertEquals(distill.fits, false);
  assertMatch(distill.advice, /^it needs 2 of these devices/);
  assert(Math.abs(distill.dollars - 2 * distill.seconds / 3600) < 1e-6);
  assert(!("publishedHours" in distill));
});

Deno.test("plan: every kind of kernel at the limits of a fleet's devices", async () => {
  using own = temporaryFolder();
  const file = join(own.folder, "recipe.json");
  const recipe = minuteRecipe(own.folder, { stages: [align(steps(5000)), distill(steps(50000))] });
  Deno.writeTextFileSync(file, toJson(recipe));
  const on = (...words: string[]) => plan(file, ...words, "--roofline");
  const [people, json, here] = await Promise.all([
    on("--on", "2x H100"),
    on("--on", "rtx 4090", "--json"),
    on(),
  ]);
  assertEquals(people.code, 0, people.stderr);
  assertMatch(people.stdout, /^distill +FLOPs\/token +bytes\/token +time +share +bound by$/m);
  assertMatch(people.stdout, /^matrix products +[\d.]+ K +[\d.]+ KiB +\S+ s +\d+ % +memory$/m);
  assertMatch(people.stdout, /^recurrence \(wkv\) +[\d.]+ K +/m);
  assertMatch(people.stdout, /^communication +0 +[\d.]+ KiB +\S+ s +\d+ % +link$/m);
  assertMatch(
    people.stdout,
    /^roofline: \S+ s at least; \S+ (s|h), \$\S+ where a run comes as near to it as the paper's did \(align 47 %, distill 74 %\); the plan says \S+ (s|h)$/m,
  );
  assertMatch(people.stdout, /^2x H100: products and attention at 794\.50 TFLOP\/s in bf16, /m);
  for (const { flops, tokens, roofline } of jsonOf(json).stages) {
    const kinds = roofline.work.map(({ kind }: { kind: string }) => kind);
    assert(kinds.includes("wkv") && !kinds.includes("communication"));
    const found = roofline.work.reduce(
      (sum: number, { kind, flopsPerToken }: { kind: string; flopsPerToken: number }) =>
        kind === "optimizer" ? sum : sum + flopsPerToken,
      0,
    );
    // The plan counts one sequence, a device computes two at once.
    assert(Math.abs(found * tokens / flops - 1) < 0.01, `${found * tokens} of ${flops} FLOPs`);
    for (const { label, launches, seconds } of roofline.kernels) {
      assert(label.length > 0 && launches > 0 && seconds > 0);
    }
  }
  assertRefused(here, "--roofline: expected --on a fleet whose peaks are known: ");
});

Deno.test("plan: times are clocks on this machine and hours on what is rented", () => {
  const texts = (holdsModels: boolean) =>
    [0.4, 5, 2615, 20_880].map((seconds) => timeText(seconds, { holdsModels }));
  assertEquals(texts(true), ["<1 s", "0:05", "43:35", "5:48:00"]);
  assertEquals(texts(false), ["<1 s", "<0.01 h", "0.73 h", "5.80 h"]);
});

Deno.test("plan: config.json alone is enough, of the teacher's folder or of --config", async () => {
  using own = temporaryFolder();
  const file = join(own.folder, "recipe.json");
  Deno.writeTextFileSync(file, toJson(minuteRecipe(own.folder)));
  const config = join(own.folder, "teacher", "config.json");
  const other = join(own.folder, "other.json");
  const json = JSON.parse(Deno.readTextFileSync(config));
  Deno.writeTextFileSync(other, JSON.stringify({ ...json, num_hidden_layers: 3 }));
  const whole = jsonOf(await plan(file, "--on", "H100", "--json"));
  Deno.removeSync(join(own.folder, "teacher", "model.safetensors"));
  assertEquals(jsonOf(await plan(file, "--on", "H100", "--json")), whole);
  const deeper = jsonOf(await plan(file, "--on", "H100", "--config", other, "--json"));
  assertEquals(deeper.layers.length, 3);
});

Deno.test("plan refuses a fleet that there is not, and a config for a new model", async () => {
  const [fleet, config] = await Promise.all([
    plan("recipes/quickstart.ts", "--on", "8x TPU"),
    plan("recipes/teacher.ts", "--config", "assets/teacher/config.json"),
  ]);
  assertRefused(
    fleet,
    '--on: expected "this machine", or "N x" and one of MI300X, H100,',
    '"8x TPU"',
  );
  assertRefused(config, "--config: expected a recipe with a teacher, found a new model");
});

Deno.test("plan: a new model", async () => {
  const report = jsonOf(await plan("recipes/teacher.ts", "--on", "H100", "--json"));
  assert(report.layers.every(({ from }: { from: string }) => from === "new"));
  assert(report.parameters > 9e5 && report.parameters < 1.1e6);
  assertEquals(report.teacher, undefined);
});

Deno.test("plan refuses what convert refuses of a recipe and its teacher", async () => {
  using own = temporaryFolder();
  const recipe = minuteRecipe(own.folder);
  let files = 0;
  // deno-lint-ignore no-explicit-any
  const write = (change: (json: any) => void) => {
    const json = JSON.parse(toJson(recipe));
    change(json);
    const file = join(own.folder, `recipe-${files++}.json`);
    Deno.writeTextFileSync(file, JSON.stringify(json));
    return file;
  };
  const layers = plan(write((json) => json.surgery[0].layers = { kind: "last", count: 3 }));
  const trains = plan(write((json) => json.stages[0].trains = { kind: "match", globs: ["x"] }));
  assertRefused(await layers, "surgery[0].layers: expected at most the model's 2 layers, found 3");
  assertRefused(
    await trains,
    "stages[0].trains: expected at least one tensor of the converted layers' mixers",
  );
  const teacher = plan(write((json) => json.teacher.location = join(own.folder, "none")));
  const missing = plan(join(own.folder, "none.ts"));
  assertRefused(await teacher, /none\/config\.json: expected .*; check the path/);
  assertRefused(await missing, "none.ts: there is no such file");
});
