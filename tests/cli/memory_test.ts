import { assert, assertEquals, assertMatch } from "@std/assert";
import { assertRefused, jsonOf, runTask } from "../support/task.ts";

const memory = (...words: string[]) => runTask("memory", ...words, "--blas", "none");

Deno.test("memory: what a plan says and what a step took, side by side", async () => {
  const small = ["--context", "64", "--batch", "8"];
  const people = await memory(...small, "--stage", "1");
  assertEquals(people.code, 0, people.stderr);
  assertMatch(people.stdout, /^tiny, stage 1 +planned +measured +residual$/m);
  assertMatch(people.stdout, /^device +[\d.]+ MiB +[\d.]+ MiB +[+−±]\d %$/m);
  assertMatch(people.stdout, /^process +[\d.]+ MiB +[\d.]+ MiB +[+−±]\d+ %$/m);
  const words = [...small, "--accumulate", "2", "--rematerialise", "--mixer", "rwkv6", "--json"];
  const report = jsonOf(await memory(...words));
  const { planned, device_bytes, process_bytes } = report;
  const share = (planned.total - planned.process) / device_bytes;
  assert(share > 0.9 && share < 1.1, `${share}`);
  assert(process_bytes > device_bytes && report.loss > 0 && report.seconds_per_step > 0);
  assertEquals([report.stage, report.batch, report.accumulate], [2, 8, 2]);
  assertRefused(
    await memory("--accumulate", "3"),
    "--accumulate: expected a divisor of 16, found 3",
  );
});
