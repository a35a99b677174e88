import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { temporaryFolder } from "../support/checkpoint.ts";
import { sharedPath } from "../support/shared.ts";
import { assertRefused, jsonOf, runTask } from "../support/task.ts";
import { namesIn, writeTeacher } from "../train/support.ts";

const STORIES = sharedPath("models", "stories260k");
const bench = (...words: string[]) => runTask("bench", ...words, "--blas", "none");

Deno.test("bench train: tokens/s as people and as programs read them", async () => {
  const people = await bench("train", "--shape", "tiny", "--steps", "1", "--profile");
  assertEquals(people.code, 0, people.stderr);
  assertMatch(
    people.stdout,
    /^shape +mixer +stage +tokens\/s +median +GFLOPS +ms a step +memory$/m,
  );
  assertMatch(people.stdout, /^tiny +rwkv7 +1 +\d+ +\d+ +\d+\.\d +\d+\.\d +\d+\.\d MiB$/m);
  assertMatch(people.stdout, /^kernel +launches +ms +share +GFLOPS +GB\/s$/m);
  const report = jsonOf(
    await bench("train", "--mixer", "rwkv6", "--stage", "2", "--steps", "1", "--json"),
  );
  const { shape, mixer, stage, steps } = report;
  assertEquals([shape, mixer, stage, steps], ["tiny", "rwkv6", 2, 1]);
  assert(report.tokens_per_second > 0);
  assert(report.gflops > 0 && report.bytes > 1e6);
  assert(report.machine.name.length > 0 && report.versions.deno === Deno.version.deno);
});

Deno.test("bench matmul: GFLOPS of products", async () => {
  const { rows } = jsonOf(await bench("matmul", "--json"));
  assert(rows.length > 5);
  for (const { m, n, k, gflops, seconds } of rows) {
    assert(Math.abs(gflops - 2 * m * n * k / seconds / 1e9) < 1e-6 * gflops);
  }
});

Deno.test("bench decode: two models side by side, by position, drawn", async () => {
  using own = temporaryFolder();
  const teacher = writeTeacher(join(own.folder, "teacher"));
  const svg = join(own.folder, "plots", "decode.svg");
  const words = [
    "--checkpoint",
    teacher,
    "--against",
    STORIES,
    "--tokens",
    "300",
    "--window",
    "64",
  ];
  const drawn = await bench("decode", ...words, "--svg", svg);
  assertEquals(drawn.code, 0, drawn.stderr);
  assertMatch(
    drawn.stdout,
    /^tokens +attention, ms a token +attention, ms a token +attention, state/,
  );
  const positions = [...drawn.stdout.matchAll(/^(\d+) /gm)].map(([, n]) => Number(n));
  assertEquals(positions.map((n) => n - positions[0]), [0, 64, 192]);
  const text = Deno.readTextFileSync(svg);
  assert(text.startsWith("<svg ") && text.endsWith("</svg>\n"));
  assertEquals([...text.matchAll(/<path /g)].length, 6);
  assertEquals(namesIn(join(own.folder, "plots")), ["decode.svg"]);

  const { models, window } = jsonOf(await bench("decode", ...words, "--json"));
  assertEquals([window, models.length], [64, 2]);
  for (const { windows } of models) {
    assertEquals(windows.length, 4);
    assert(windows.every(({ milliseconds }: { milliseconds: number }) => milliseconds > 0));
  }
});

Deno.test("bench decode: formats and streams beside a plain read", async () => {
  const words = ["decode", "--shape", "quickstart", "--seconds", "0", "--json"];
  const [all, one] = [bench(...words), bench(...words, "--weights", "q8_0", "--streams", "3")];
  const stories = bench("decode", "--checkpoint", STORIES, "--weights", "bf16", "--seconds", "0");
  const { rows } = jsonOf(await all);
  assertEquals(rows.map((row: { weights: string }) => row.weights), [
    "f32",
    "bf16",
    "q8_0",
    "q4_0",
  ]);
  const bytes = rows.map((row: { bytes: number }) => row.bytes);
  assert(bytes[0] > bytes[1] && bytes[1] > bytes[2] && bytes[2] > bytes[3]);
  for (const { tokensPerSecond, gigabytesPerSecond, share, bytes, ...row } of rows) {
    const found = gigabytesPerSecond / (tokensPerSecond * bytes / 1e9);
    assert(Math.abs(found - 1) < 1e-9);
    assert(Math.abs(share - gigabytesPerSecond / row.readGigabytesPerSecond) < 1e-9);
  }
  assertEquals(jsonOf(await one).rows.map((row: { streams: number }) => row.streams), [3]);
  const { stdout } = await stories;
  assertMatch(
    stdout,
    /^weights +streams +prompt tokens\/s +tokens\/s +read a token +GB\/s +plain read +share$/m,
  );
  assertMatch(stdout, /^bf16 +1 +\d+ +[\d.]+ +[\d.]+ [KM]iB +[\d.]+ +[\d.]+ +\d+ %$/m);
});

Deno.test("bench refuses what it cannot measure", async () => {
  const what = bench("sort");
  assertRefused(await what, 'WHAT: expected train, matmul or decode, found "sort"');
  const short = bench("decode", "--checkpoint", STORIES, "--tokens", "10");
  assertRefused(await short, "--tokens: expected at least a window of 256, found 10");
  const missing = bench("decode", "--checkpoint", "no/such/folder");
  const unknown = bench("decode", "--checkpoint", STORIES, "--against", "no/model");
  const shape = bench("train", "--shape", "huge");
  assertRefused(await missing, /no\/such\/folder\/config\.json: expected .*check the path/);
  assertRefused(await unknown, "no/model: expected a folder, or a model on", "deno task fetch");
  assertRefused(
    await shape,
    /--shape: expected quickstart or tiny or small or smollm, found "huge"/,
  );
  const peer = bench("train", "--mixer", "rwkv6", "--vs", "torch");
  assertRefused(await peer, "--vs: expected --mixer rwkv7, which PyTorch is measured with");
  const attention = bench("train", "--mixer", "attention");
  assertRefused(await attention, "--mixer: expected rwkv6 or rwkv7");
});
