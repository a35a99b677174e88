import { assert, assertEquals, assertMatch } from "@std/assert";
import { align } from "../../dsl/stages.ts";
import { sharedPath } from "../support/shared.ts";
import { runTask, runTaskWith, type TaskResult } from "../support/task.ts";
import { steps } from "../train/support.ts";
import { FLAGS, place } from "./convert_support.ts";

const STORIES = sharedPath("models", "stories260k");

Deno.test("DEBUG=2 convert: plan, phases, and a step by kernel with its optimizer; the same bits", async () => {
  using own = place({ stages: [align(steps(4))] });
  const run = (level: string, name: string) =>
    runTaskWith(
      { DEBUG: level },
      ...["convert", own.write((json) => json.output = `${own.out}-${name}`), ...FLAGS, "--json"],
    );
  const [plain, debugged] = [await run("", "plain"), await run("2", "debugged")];
  assertEquals(debugged.code, 0, debugged.stderr);
  const weights = (name: string) => Deno.readFileSync(`${own.out}-${name}/model.safetensors`);
  assertEquals(weights("debugged"), weights("plain"));
  assertEquals(JSON.parse(debugged.stdout).stages.length, 1);
  assert(!plain.stderr.includes("GFLOPS"), plain.stderr);
  for (
    const line of [
      /^layers +from +to +parameters/m,
      /^stage +kind +steps +tokens/m,
      /^this machine's peaks, 1 thread: \d+ GFLOPS in kernels/m,
      /^align: forward and backward: \d+ launches of \d+ kernels, .*compiled in/m,
      /^reading data and models: \d+\.\d+ s$/m,
      /^align: \d+\.\d+ s$/m,
      /^align +launches +ms +share +GFLOPS +of peak +GB\/s +of peak$/m,
      /^products +\d+/m,
      /^wkv +\d+/m,
      /^optimizer +\d+/m,
      /^decoding a token +launches/m,
    ]
  ) {
    assertMatch(debugged.stderr, line);
  }
});

Deno.test("DEBUG=4 generate: graphs and kernels on stderr, and nothing else there", async () => {
  const words = [STORIES, "--prompt", "Once", "--tokens", "4", "--threads", "1", "--blas", "none"];
  const run = (level: string): Promise<TaskResult> =>
    level === ""
      ? runTask("generate", ...words)
      : runTaskWith({ DEBUG: level }, "generate", ...words);
  const [plain, three, four, other] = [
    await run(""),
    await run("3"),
    await run("4"),
    await run("express:*"),
  ];
  for (const { code, stdout } of [three, four, other]) {
    assertEquals({ code, stdout }, { code: 0, stdout: plain.stdout });
  }
  assertMatch(three.stderr, /^ +0 {2}\w.* {2}reads .* \[.*\] {2}writes %0 \[/m);
  assertMatch(three.stderr, /^ +\d+ {2}cached_attention {2}reads /m);
  assert(!three.stderr.includes("kernel "), "code is for 4");
  assertMatch(four.stderr, /^kernel \w+\(p0: ptr, /m);
  assertEquals(other.stderr.split("\n").length, plain.stderr.split("\n").length);
});
