import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { lossesSvg } from "../../cli/losses.ts";
import { temporaryFolder } from "../support/checkpoint.ts";
import { assertRefused, jsonOf, runTask } from "../support/task.ts";

/** A run's folder with the losses of its only stage. */
function runOf(folder: string, name: string, losses: readonly number[]): string {
  const path = join(folder, name);
  Deno.mkdirSync(path);
  const lines = losses.map((loss, i) =>
    `${JSON.stringify({ stageIndex: 0, stage: "align", step: i + 1, loss })}\n`
  );
  Deno.writeTextFileSync(join(path, "telemetry.jsonl"), lines.join(""));
  return path;
}

Deno.test("losses: a row a stage, JSON, a drawing; a run that is none is refused", async () => {
  using temporary = temporaryFolder();
  const { folder } = temporary;
  const [a, b] = [runOf(folder, "a", [4, 2, 1]), runOf(folder, "b", [4, 2.5, 1])];
  const svg = join(folder, "losses.svg");
  const [shown, json, refused] = await Promise.all([
    runTask("losses", a, b, "--svg", svg),
    runTask("losses", a, join(b, "telemetry.jsonl"), "--json"),
    runTask("losses", a, folder),
  ]);
  assertEquals(shown.code, 0, shown.stderr);
  assertMatch(shown.stdout, /^align +3 +1( +2\.5e-1){3} +8\.3e-2 +1\.0000 +1\.0000$/m);
  assertStringIncludes(Deno.readTextFileSync(svg), "loss of align");
  const { runs, stages } = jsonOf(json);
  assertEquals([runs, stages.length], [[a, join(b, "telemetry.jsonl")], 1]);
  assertEquals([stages[0].equal, stages[0].first10, stages[0].last], [1, 0.25, [1, 1]]);
  assertRefused(refused, `${folder}/telemetry.jsonl`, "no such file or folder; check the path");
});

Deno.test("losses: one run alone, by its first loss and its last", async () => {
  using temporary = temporaryFolder();
  const { folder } = temporary;
  const run = runOf(folder, "a", [4, ...new Array(200).fill(2), 1]);
  const svg = join(folder, "losses.svg");
  const [shown, json] = await Promise.all([
    runTask("losses", run, "--svg", svg),
    runTask("losses", run, "--json"),
  ]);
  assertEquals(shown.code, 0, shown.stderr);
  assertMatch(shown.stdout, /^align +202 +4\.0000 +1\.0000 +1\.9900$/m);
  assertStringIncludes(Deno.readTextFileSync(svg), "<title>Training losses</title>");
  assertEquals(jsonOf(json).stages, [
    { stage: "align", steps: 202, first: 4, last: 1, lastMean: 1.99 },
  ]);
});

Deno.test("losses: the drawing has a panel a stage and a line a run, of means where steps are many", () => {
  const stage = (name: string, count: number) => ({
    stage: name,
    losses: Array.from({ length: count }, (_, i) => 1 / (i + 1)),
  });
  const one = [stage("align", 600), stage("distill", 90)];
  const svg = lossesSvg([one, one.slice(0, 1)], ["first", "second"]);
  assertEquals([...svg.matchAll(/<path /g)].length, 3);
  assertStringIncludes(svg, "loss of distill, means of 3 steps");
  const [line] = svg.match(/<path [^>]*d="[^"]*"/) ?? [];
  assertEquals(line?.split("L").length, 200);
});
