import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { align, distill } from "../../dsl/stages.ts";
import { constant } from "../../dsl/schedules.ts";
import { runFolderOf } from "../../train/conversion.ts";
import { assertRefused, jsonOf, runTaskOnSmallDisk } from "../support/task.ts";
import { startTask } from "../support/task_process.ts";
import { namesIn, sentences, steps } from "../train/support.ts";
import { convert, FLAGS, place } from "./convert_support.ts";

Deno.test("convert: a table, two samples, a folder; the report as JSON", async () => {
  using own = place();
  const file = own.write();
  const [people, again] = [await convert(file), await convert(file, "--json", "--seed", "3")];
  assertEquals(people.code, 0, people.stderr);
  const number = "\\d+(\\.\\d+)?";
  const bytes = `${number} (B|KiB|MiB)`;
  for (
    const row of [
      ` +tokens +time +loss +perplexity +to teacher +state 1K +state 32K +tokens/s`,
      `teacher +${number} +${number} +1\\.0000 × +128\\.0 KiB +4\\.0 MiB +${number}`,
      `student, untrained +${number} +${number} +${number} × +${bytes} +${bytes}`,
      `after align +192 +${number} s +${number} +${number} +${number} × +${bytes} +${bytes}`,
      `after distill +128 +${number} s +${number} +${number} +${number} × +${bytes} +${bytes} +\\d+`,
      `after ".*"`,
      `teacher +│ student`,
      `${own.out} in \\d+ s, ${bytes} of memory at most`,
    ]
  ) {
    assertMatch(people.stdout, new RegExp(`^${row}$`, "m"));
  }
  // deno-lint-ignore no-control-regex
  assert(!/[\x00-\x09\x0b-\x1f\x7f-\x9f]/.test(people.stdout), "nothing that moves a cursor");
  assertMatch(people.stderr, /^cpu: 1 thread/m);
  assertMatch(
    people.stderr,
    /^align 100% {2}step 6\/6 {2}loss \d\.\d+ {2}[\d,]+ tokens\/s {2}0:00/m,
  );

  const report = jsonOf(again);
  assertEquals(report, JSON.parse(Deno.readTextFileSync(join(own.out, "report.json"))));
  assertEquals([report.seed, report.stages.length], [3, 2]);
  assertEquals(JSON.parse(Deno.readTextFileSync(join(own.out, "recipe.json"))).seed, 3);
  assertEquals(namesIn(join(own.out, "..")), ["first"]);
});

Deno.test("convert: where stages have different contexts the table says which", async () => {
  using own = place({ stages: [align(steps(1)), distill(steps(2, { context: 32 }))] });
  const { code, stdout, stderr } = await convert(own.write());
  assertEquals(code, 0, stderr);
  assertMatch(stdout, /^ +tokens +time +context +loss +perplexity +to teacher/m);
  assertMatch(stdout, /^teacher +32 +\d/m);
  assertMatch(stdout, /^student, untrained +16 +\d/m);
  assertMatch(stdout, /^after align .* s +16 +\d/m);
  assertMatch(stdout, /^after distill .* s +32 +\d/m);
  assertMatch(stdout, /^to teacher: to the teacher's perplexity at this context$/m);
});

Deno.test("convert: --resume and --restart exclude each other", async () => {
  using own = place();
  const result = await convert(own.write(), "--resume", "--restart");
  assertRefused(result, /convert: --resume: expected either this or --restart, found both/);
});

Deno.test("convert: --out and --dtype; a finished run is told by --resume", async () => {
  using own = place({ stages: [align(steps(1))] });
  const file = own.write();
  const out = `${join(own.folder, "elsewhere")}/`;
  const flags = ["--out", out, "--dtype", "bfloat16", "--json"];
  const first = jsonOf(await convert(file, ...flags));
  const config = JSON.parse(Deno.readTextFileSync(join(out, "config.json")));
  assertEquals([config.torch_dtype, config.model_type], ["bfloat16", "rwkv7qwen2"]);
  assertEquals(namesIn(own.folder), ["elsewhere", "recipe-0.json", "teacher", "text.txt"]);
  const second = await convert(file, ...flags, "--resume");
  assertEquals(jsonOf(second), first);
  assertMatch(second.stderr, /there is nothing to do: .*elsewhere\/ is this recipe's result/);
});

Deno.test("convert on a disk without room for the tokens leaves nothing", async () => {
  using own = place();
  // 1 MB of text has more tokens than fit.
  Deno.writeTextFileSync(join(own.folder, "long.txt"), sentences(30_000));
  const disk = join(own.folder, "disk");
  Deno.mkdirSync(disk);
  const file = own.write((json) => {
    json.data[0].globs = [join(own.folder, "long.txt")];
    json.output = join(disk, "deep", "out");
  });
  const result = await runTaskOnSmallDisk(disk, 256, "convert", file, ...FLAGS);
  assertRefused(result, /expected to write this file, found that the disk is full; make room/);
});

Deno.test("convert on a disk without room for the result keeps the run", async () => {
  using own = place({ stages: [] });
  const disk = join(own.folder, "disk");
  Deno.mkdirSync(disk);
  const file = own.write((json) => json.output = join(disk, "out"));
  // The weights fit once, in the run's folder.
  const { code, stdout, stderr } = await runTaskOnSmallDisk(disk, 160, "convert", file, ...FLAGS);
  // It is not the recipe's fault, and something was written.
  assertEquals(code, 1, stderr);
  assertMatch(
    stderr,
    /^convert: .*out(\.partial)?.*: expected to write this file, found that the disk is full.*\nwhat is done so far is in .*\/out\.run-[0-9a-f]{12}\nGo on with: deno task convert .* --resume$/m,
  );
  assertMatch(stdout, /^out\.run-[0-9a-f]{12}\n$/);
});

Deno.test("convert: a loss that is not finite ends with what to do, without a stack", async () => {
  const astray = { ...steps(9), warmup: 0, lr: constant(1), weightDecay: 1e25 };
  using own = place({ stages: [align(astray)] });
  const [people, json] = [
    await convert(own.write()),
    await convert(own.write(), "--json", "--restart"),
  ];
  assertEquals([people.code, people.stdout], [1, ""]);
  assertMatch(
    people.stderr,
    /^convert: stage align, step 2 of 9: the loss is (NaN|Infinity); .*\n$/m,
  );
  assert(!/\n\s+at /.test(people.stderr), people.stderr);
  assertMatch(jsonOf(json, 1).error, /^stage align, step 2 of 9/);
});

if (Deno.build.os !== "windows") {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.test(`convert: ${signal} stops at a checkpoint, from which --resume goes on`, async () => {
      using own = place({ stages: [align(steps(200_000)), distill(steps(1))] });
      const file = own.write();
      const process = startTask("convert", file, ...FLAGS, "--seed", "5");
      // The run's folder is named by the recipe, seed and output included.
      const run = () => namesIn(join(own.out, ".."))?.find((name) => name.includes(".run-"));
      const lines = () => {
        const folder = run();
        if (folder === undefined) return 0;
        const path = join(own.out, "..", folder, "telemetry.jsonl");
        try {
          return Deno.statSync(path).size;
        } catch {
          return 0;
        }
      };
      while (lines() === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      process.kill(signal);
      const { code, stdout, stderr } = await process.output();
      const said = new TextDecoder().decode(stderr);
      assertEquals([code, stdout.length], [1, 0], said);
      assertMatch(said, /^stopping after this step; a second signal ends at once$/m);
      assertMatch(said, /^stopped in align after step \d+ of 200000; what is done so far is in /m);
      const next =
        `Go on with: deno task convert ${file} --seed 5 --threads 1 --blas none --resume`;
      assert(said.includes(next), said);

      const again = startTask("convert", file, ...FLAGS, "--seed", "5", "--resume", "--json");
      const began = await saidUntil(again, /^align +\d+%/m);
      assertMatch(began, /^resumed in stage 1 of 2, after step \d+$/m);
      again.kill(signal);
      const stopped = await again.stdout.getReader().read();
      await again.status;
      const report = JSON.parse(new TextDecoder().decode(stopped.value));
      assertEquals([report.kind, report.stage, report.steps], ["stopped", 1, 200_000]);
      assertEquals(
        report.folder,
        runFolderOf({ ...own.recipe, output: own.out, seed: 5 }, own.out),
      );
    });
  }
}

/** What a process writes to stderr until a line of it matches. */
async function saidUntil(process: Deno.ChildProcess, line: RegExp): Promise<string> {
  const reader = process.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  while (!line.test(said)) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`it ended before ${line}: ${said}`);
    said += value;
  }
  return said;
}
