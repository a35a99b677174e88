import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { allBench } from "../../cli/bench/all.ts";
import { benchFlags } from "../../cli/bench/flags.ts";
import type { BenchPart, PartResult } from "../../cli/bench/part.ts";
import { taskReport } from "../../cli/bench/task.ts";
import { defaultsOf, UsageError } from "../../cli/command/flags.ts";
import { FormatError } from "../../formats/error.ts";
import { temporaryFolder } from "../support/checkpoint.ts";
import { sharedPath } from "../support/shared.ts";
import { assertRefused, jsonOf, runTask } from "../support/task.ts";
import { namesIn, writeTeacher } from "../train/support.ts";

const STORIES = sharedPath("models", "stories260k");
const bench = (...words: string[]) =>
  runTask("bench", ...words, "--blas", "none", "--native", "none");

Deno.test("bench train: tokens/s as people and as programs read them", async () => {
  const people = await bench("train", "--shape", "tiny", "--steps", "1", "--profile");
  assertEquals(people.code, 0, people.stderr);
  assertMatch(
    people.stdout,
    /^shape +mixer +stage +form +tokens\/s +fastest +GFLOPS +of peak +ms a step +memory$/m,
  );
  assertMatch(
    people.stdout,
    /^tiny +rwkv7 +1 +WebAssembly +\d+ +\d+ +\d+\.\d +\d+ % +\d+\.\d +\d+\.\d MiB$/m,
  );
  assertMatch(people.stdout, /^align +launches +ms +share +GFLOPS +of peak +GB\/s +of peak$/m);
  for (const kind of ["products", "wkv", "attention", "loops", "column sums", "optimizer", "all"]) {
    assertMatch(people.stdout, new RegExp(`^${kind} +\\d+ +\\d+\\.\\d+ +\\d+\\.\\d %`, "m"));
  }
  const words = ["--mixer", "rwkv6", "--shape", "quickstart", "--stage", "1,2", "--steps", "1"];
  const report = jsonOf(await bench("train", ...words, "--seconds", "0", "--json"));
  assertEquals(report.rows.length, 2);
  for (const [i, row] of report.rows.entries()) {
    const { shape, mixer, stage, steps, form, peers } = row;
    const expected = ["quickstart", "rwkv6", i + 1, 1, "WebAssembly", []];
    assertEquals([shape, mixer, stage, steps, form, peers], expected);
    assert(row.tokens_per_second > 0 && row.best_tokens_per_second >= row.tokens_per_second);
    assert(row.gflops > 0 && row.peak_gflops > 0 && row.bytes > 1e6);
  }
  assert(report.machine.name.length > 0 && report.versions.deno === Deno.version.deno);
});

Deno.test("bench align: layer by layer, with a teacher that is made once", async () => {
  using own = temporaryFolder();
  const words = ["align", "--shape", "quickstart", "--layers", "3", "--steps", "2"];
  const people = await bench(...words, "--teacher", own.folder);
  assertEquals(people.code, 0, people.stderr);
  assertMatch(people.stdout, /^quickstart +rwkv7 +3 +2048 +\d+\.\d\d +\d+\.\d +\d+\.\d MiB$/m);
  assertEquals(namesIn(own.folder), ["quickstart-3"]);
  const report = jsonOf(await bench(...words, "--teacher", own.folder, "--json"));
  assertEquals([report.layers.length, report.losses.length, report.tokens], [3, 2, 2048]);
  assert(report.losses.every((loss: number) => loss > 0) && report.peak_bytes > 1e7);
});

Deno.test("bench matmul: GFLOPS of products", async () => {
  const { products } = jsonOf(await bench("matmul", "--json"));
  assert(products.length > 5);
  for (const { m, n, k, gflops, seconds, form } of products) {
    assert(Math.abs(gflops - 2 * m * n * k / seconds / 1e9) < 1e-6 * gflops);
    assertEquals(form, "WebAssembly");
  }
});

Deno.test("bench --all: parts as tables, as JSON, and as the machine's section of a file", async () => {
  using own = temporaryFolder();
  const out = join(own.folder, "RESULTS.md");
  const words = ["--all", "--only", "peaks", "--out", out, "--json"];
  const report = jsonOf(await bench(...words));
  assertEquals([Object.keys(report.parts), report.quick], [["peaks"], false]);
  const [peak] = report.parts.peaks.peaks;
  assert(peak.fmaGflops > 0 && peak.readGBs > 0);
  const text = Deno.readTextFileSync(out);
  assertMatch(
    text,
    /^# What was measured, and where\n\n## .*, \d+ cores, \d+ GiB, .*, Deno [\d.]+\n/,
  );
  assert(
    text.includes(
      "### Peaks of the machine\n\n    deno task bench --all --only peaks --blas none --native none",
    ),
  );
  assertMatch(text, /^\| threads \| form +\| FMA in kernels \| best product/m);
  Deno.writeTextFileSync(out, `${text}\n### Of somebody\n\nwords\n`);
  assertEquals((await bench(...words)).code, 0);
  const again = Deno.readTextFileSync(out);
  assertEquals(again.match(/^##+ /gm)?.length, 3);
  assert(again.endsWith("\n### Of somebody\n\nwords\n"));
});

Deno.test("bench operations and agreement: beside WebAssembly, whose results they are", async () => {
  const words = ["--shape", "quickstart", "--quick", "--json"];
  const [operations, agreement] = [bench("operations", ...words), bench("agreement", ...words)];
  const { operations: rows, tolerance } = jsonOf(await operations);
  assert(rows.length > 20 && tolerance > 0);
  for (const { name, size, seconds, difference, agrees } of rows) {
    assert(seconds > 0 && size.length > 0, name);
    assertEquals([difference, agrees], [0, true], name);
  }
  const { results } = jsonOf(await agreement);
  assertEquals(results.map(({ difference }: { difference: number }) => difference), [0, 0, 0]);
});

Deno.test("bench --device: everything of a GPU needs no word, and is written as JSON", async () => {
  using own = temporaryFolder();
  const [out, json] = ["RESULTS.md", "gpu.json"].map((name) => join(own.folder, name));
  const words = ["--device", "webgpu", "--quick", "--only", "peaks"];
  const { code, stdout, stderr } = await runTask(
    "bench",
    ...words,
    "--out",
    out,
    "--json-out",
    json,
  );
  assertEquals(code, 0, stderr);
  assertMatch(stdout, /^measured +[\d.]+ GFLOPS +[\d.]+ GFLOPS +[\d.]+ GB\/s +[\d.]+ GB\/s$/m);
  const report = JSON.parse(Deno.readTextFileSync(json));
  assertMatch(report.gpu, /^webgpu: /);
  assertEquals(Object.keys(report.parts), ["peaks"]);
  assert(report.seconds.peaks > 0 && report.versions.deno === Deno.version.deno);
  const text = Deno.readTextFileSync(out);
  assertMatch(text, /^## .+ by webgpu.*; beside .+, \d+ cores, \d+ GiB, .*, Deno [\d.]+$/m);
  const command = "    deno task bench --only peaks --quick --device webgpu";
  assert(text.includes(`### Peaks of the machine\n\n${command}\n`), text);
});

Deno.test("bench: a task in a process of its own gives its report", async () => {
  const report = await taskReport("memory", ["--shape", "quickstart", "--blas", "none"]);
  assert(Number(report.process_bytes) > 1e7 && Number(report.device_bytes) > 1e6);
  const wrong = () => taskReport("memory", ["--shape", "huge"]);
  await assertRejects(wrong, FormatError, "exit code 2");
});

Deno.test("bench --all: a part that fails, or finds wrong results, is told; the others are measured", async () => {
  using own = temporaryFolder();
  const out = join(own.folder, "RESULTS.md");
  const flags = { ...defaultsOf(benchFlags), all: true, out };
  const part = (name: string, measure: BenchPart["measure"]) => ({ name, title: name, measure });
  const result = (failed: boolean): PartResult => ({
    content: ["words"],
    report: { n: 1 },
    failed,
  });
  const said: string[] = [];
  const parts = [
    part("broken", () => Promise.reject(new Error("no memory"))),
    part("wrong", () => Promise.resolve(result(true))),
    part("right", () => Promise.resolve(result(false))),
  ];
  const output = {
    print: () => {},
    say: (line: string) => void said.push(line),
    columns: () => 80,
  };
  const { report, failed } = await allBench(parts, flags, output);
  assertEquals([failed, Object.keys(report.parts as object)], [true, ["wrong", "right"]]);
  assertEquals(report.failed, {
    broken: "no memory",
    wrong: "results are not as they must be",
  });
  assert(said.some((line) => line.includes("Error: no memory")));
  assertEquals(Deno.readTextFileSync(out).match(/^### .*$/gm), ["### wrong", "### right"]);
  const usage = [part("refused", () => Promise.reject(new UsageError("--shape: one")))];
  await assertRejects(() => allBench(usage, flags, output), UsageError, "--shape: one");
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
  const [all, one] = [bench(...words), bench(...words, "--weights", "q8_0", "--streams", "1,3")];
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
  assertEquals(jsonOf(await one).rows.map((row: { streams: number }) => row.streams), [1, 3]);
  const { stdout } = await stories;
  assertMatch(
    stdout,
    /^weights +streams +prompt tokens\/s +tokens\/s +read a token +GB\/s +plain read +share$/m,
  );
  assertMatch(stdout, /^bf16 +1 +\d+ +[\d.]+ +[\d.]+ [KM]iB +[\d.]+ +[\d.]+ +\d+ %$/m);
});

Deno.test("bench refuses what it cannot measure", async () => {
  const what = bench("sort");
  assertRefused(
    await what,
    "WHAT: expected peaks, matmul, operations, agreement, train, memory, align, decode or growth, " +
      'or --all, found "sort"',
  );
  assertRefused(await bench(), "or --all, found nothing");
  assertRefused(await bench("train", "--all"), 'expected nothing beside --all, found "train"');
  assertRefused(await bench("train", "--out", "x.md"), "--out: expected --all beside it");
  assertRefused(await bench("train", "--json-out", "x"), "--json-out: expected --all beside it");
  assertRefused(
    await bench("--all", "--only", "peaks,sleep"),
    /--only: expected peaks, matmul, .* or growth, several with commas, found "sleep"/,
  );
  const short = bench("decode", "--checkpoint", STORIES, "--tokens", "10");
  assertRefused(await short, "--tokens: expected at least a window of 256, found 10");
  const missing = bench("decode", "--checkpoint", "no/such/folder");
  const unknown = bench("decode", "--checkpoint", STORIES, "--against", "no/model");
  const shape = bench("train", "--shape", "huge");
  assertRefused(await missing, /no\/such\/folder\/config\.json: expected .*check the path/);
  assertRefused(await unknown, "no/model: expected a folder, or a model on", "deno task fetch");
  assertRefused(
    await shape,
    /--shape: expected quickstart, tiny, small, smollm, qwen05b or qwen7b, several with commas, found "huge"/,
  );
  const peer = bench("train", "--mixer", "rwkv6", "--vs", "torch");
  assertRefused(await peer, "--vs: expected --mixer rwkv7, which PyTorch is measured with");
  const small = bench("train", "--shape", "quickstart,tiny", "--vs", "torch,torch-keep");
  assertRefused(await small, "--vs: expected --shape tiny, small or smollm");
  const onGpu = runTask("bench", "train", "--device", "webgpu", "--vs", "torch");
  assertRefused(await onGpu, "--vs: expected --device cpu or cuda, which PyTorch has too, found");
  const attention = bench("train", "--mixer", "attention");
  assertRefused(await attention, "--mixer: expected rwkv6 or rwkv7");
});
