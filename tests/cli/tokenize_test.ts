import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { openBinidx } from "../../formats/binidx/token_file.ts";
import { snapshotFolder, writeRef } from "../../hub/cache.ts";
import { temporaryFolder } from "../support/checkpoint.ts";
import { COMMIT } from "../hub/support.ts";
import { assertRefused, jsonOf, runTask, runTaskWith } from "../support/task.ts";
import { startTask } from "../support/task_process.ts";
import { namesIn, sentences } from "../train/support.ts";

const TEACHER = "assets/teacher";
const fixture = (name: string) => join("tests/cli/fixtures/tokenize", name);

const tokenize = (out: string, ...words: string[]) =>
  runTask("tokenize", ...words, "--tokenizer", TEACHER, "--out", out);

/** Both files of a pair. */
const pair = (prefix: string) =>
  ["bin", "idx"].map((kind) => Deno.readFileSync(`${prefix}.${kind}`));

Deno.test("tokenize: the bytes that Megatron's layout and Hugging Face's tokenizers give", async () => {
  using temporary = temporaryFolder();
  const { folder } = temporary;
  const sources = [fixture("lines.jsonl"), fixture("*.txt")];
  const [plain, ended, reversed] = await Promise.all([
    tokenize(join(folder, "plain"), ...sources, "--threads", "1"),
    tokenize(join(folder, "deep/ended"), ...sources, "--append-eod", "--threads", "3", "--json"),
    tokenize(join(folder, "reversed"), sources[0], "--field", "body"),
  ]);
  for (const { code, stderr } of [plain, ended, reversed]) assertEquals(code, 0, stderr);
  assertEquals(pair(join(folder, "plain")), pair(fixture("plain")));
  assertEquals(pair(join(folder, "deep/ended")), pair(fixture("ended")));
  assertEquals(pair(join(folder, "reversed")), pair(fixture("reversed")));
  assertEquals(namesIn(join(folder, "deep")), ["ended.bin", "ended.idx"], "nothing else stays");

  assertMatch(
    plain.stdout,
    /plain: [\d,]+ tokens of 49 documents, U16, \d+\.\d KiB, in \d+\.\d s \([\d,]+ tokens\/s\)\n$/,
  );
  assertMatch(plain.stderr, /^nothing stands between documents; --append-eod puts ".*" after each/);
  assertMatch(plain.stderr, /^tokenising 100% {2}[\d,]+ tokens {2}[\d,]+ tokens\/s {2}0:00 left$/m);
  const report = jsonOf(ended);
  using file = openBinidx(join(folder, "deep/ended"));
  file.check();
  assertEquals([report.kind, report.tokens, report.documents, report.threads, report.end], [
    "done",
    file.length,
    49,
    3,
    0,
  ]);
});

/** About 6 MB of JSON lines, which are several chunks. */
function manyLines(folder: string): string {
  const path = join(folder, "many.jsonl");
  const texts = Array.from({ length: 100 }, (_, i) => sentences(20, i));
  const lines = Array.from(
    { length: 6000 },
    (_, i) => JSON.stringify({ text: texts[i % 100] + i }),
  );
  Deno.writeTextFileSync(path, lines.join("\n"));
  return path;
}

/** Documents that a state says are done; 0 before there is one. */
function documentsDone(prefix: string): number {
  try {
    return JSON.parse(Deno.readTextFileSync(`${prefix}.partial/state.json`)).documents;
  } catch {
    return 0;
  }
}

Deno.test("tokenize: killed and resumed with other threads, the bytes are the same", async () => {
  using temporary = temporaryFolder();
  const { folder } = temporary;
  const source = manyLines(folder);
  const [whole, killed] = [join(folder, "whole"), join(folder, "killed")];
  assertEquals((await tokenize(whole, source, "--threads", "2")).code, 0);

  const flags = ["--tokenizer", TEACHER, "--out", killed, "--checkpoint-every", "0"];
  for (const [signal, threads] of [["SIGKILL", "1"], ["SIGINT", "2"]] as const) {
    const before = documentsDone(killed);
    const resume = before > 0 ? ["--resume"] : [];
    const process = startTask("tokenize", source, ...flags, ...resume, "--threads", threads);
    const output = process.output();
    while (documentsDone(killed) <= before) await new Promise((done) => setTimeout(done, 1));
    process.kill(signal);
    const { code, stderr } = await output;
    const said = new TextDecoder().decode(stderr);
    assert(code !== 0, said);
    if (before > 0) assertMatch(said, /^resumed after [\d,]+ documents$/m);
    if (signal === "SIGINT") {
      assertMatch(
        said,
        /^stopped after [\d,]+ documents\nGo on with: deno task tokenize .* --resume$/m,
      );
    }
    assertEquals(namesIn(folder), ["killed.partial", "many.jsonl", "whole.bin", "whole.idx"]);
  }
  // What was written after the state must not count.
  const done = documentsDone(killed);
  assert(done > 0 && done < 6000, `${done}`);
  Deno.writeTextFileSync(`${killed}.partial/tokens.bin`, "rubbish", { append: true });
  Deno.writeTextFileSync(`${killed}.partial/lengths.i32`, "more", { append: true });
  const last = await tokenize(killed, source, "--resume", "--checkpoint-every", "0");
  assertEquals(last.code, 0, last.stderr);
  assertEquals(pair(killed), pair(whole));
  assertEquals(namesIn(folder), [
    ...["killed.bin", "killed.idx", "many.jsonl", "whole.bin", "whole.idx"],
  ]);
});

Deno.test("tokenize: of sources that are wrong nothing stays", async () => {
  using temporary = temporaryFolder();
  const { folder } = temporary;
  const out = join(folder, "out");
  const write = (name: string, content: string | Uint8Array) => {
    const path = join(folder, name);
    Deno.writeFileSync(
      path,
      typeof content === "string" ? new TextEncoder().encode(content) : content,
    );
    return path;
  };
  const lines = write("lines.jsonl", '{"text": "a"}\n{"text": 3}\n\n[]\n{"body": "b"}\n');
  const latin = write("latin.txt", Uint8Array.of(0x61, 0xe9, 0x62));
  const empty = write("empty.txt", "");
  const bad = await tokenize(out, lines);
  assertRefused(
    bad,
    `${lines}:2: expected a text in the field "text", found 3`,
    `${lines}:4: expected a JSON object, found []`,
    `${lines}:5: expected a text in the field "text", found nothing`,
  );
  assertRefused(await tokenize(out, fixture("a.txt"), latin), `${latin}: expected UTF-8`);
  assertRefused(
    await tokenize(out, empty, empty),
    `${empty}, ${empty}: expected at least one token, found none`,
  );
  assertEquals(namesIn(folder), ["empty.txt", "latin.txt", "lines.jsonl"]);
});

Deno.test("tokenize: what does not belong to a run is not gone on with", async () => {
  using temporary = temporaryFolder();
  const { folder } = temporary;
  const out = join(folder, "out");
  const source = manyLines(folder);
  const flags = ["--tokenizer", TEACHER, "--out", out, "--checkpoint-every", "0"];
  const process = startTask("tokenize", source, ...flags, "--threads", "1");
  const output = process.output();
  while (documentsDone(out) === 0) await new Promise((done) => setTimeout(done, 1));
  process.kill("SIGKILL");
  await output;
  const other = await tokenize(out, source, "--append-eod", "--resume");
  assertRefused(
    other,
    "expected the sources, the tokenizer and the flags",
    "run it without --resume",
  );
  Deno.writeTextFileSync(source, '{"text": "a"}\n{"text": "b"}\n');
  assertRefused(await tokenize(out, source, "--resume"), "sources that were written to since");
  const afresh = await tokenize(out, source);
  assertEquals(afresh.code, 0, afresh.stderr);
  assert(afresh.stderr.includes("starts afresh; --resume would have gone on"), afresh.stderr);
  assertEquals(namesIn(folder), ["many.jsonl", "out.bin", "out.idx"]);
});

Deno.test("tokenize: bad input is told before anything is written", async () => {
  using temporary = temporaryFolder();
  const { folder } = temporary;
  const bare = join(folder, "bare");
  Deno.mkdirSync(bare);
  Deno.copyFileSync(join(TEACHER, "tokenizer.json"), join(bare, "tokenizer.json"));
  const out = join(folder, "out");
  const [missing, end, none] = await Promise.all([
    tokenize(out, "nowhere/*.txt", fixture("a.txt"), "npm:nobody/x.txt"),
    runTask("tokenize", fixture("a.txt"), "--tokenizer", bare, "--out", out, "--append-eod"),
    runTask("tokenize", "--tokenizer", TEACHER, "--out", out),
  ]);
  assertRefused(missing, "nowhere/*.txt: expected at least one file", "npm:nobody/x.txt: expected");
  assertRefused(end, "eos_token: expected a token of the vocabulary", "leave --append-eod out");
  assertRefused(none, "SOURCE...: expected files, patterns of files or npm:PACKAGE/PATTERN");
  assertRefused(
    await runTask("tokenize", fixture("a.txt"), "--tokenizer", TEACHER),
    "--out: expected PREFIX (writes PREFIX.bin and PREFIX.idx), found nothing",
  );
  assertEquals(namesIn(folder), ["bare"]);
});

Deno.test("tokenize: a tokenizer of the Hugging Face cache, whose weights are not there", async () => {
  using temporary = temporaryFolder();
  const { folder } = temporary;
  const model = { cache: folder, name: "suture/whole" };
  const snapshot = snapshotFolder(model, COMMIT);
  Deno.mkdirSync(snapshot, { recursive: true });
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    Deno.copyFileSync(join(TEACHER, name), join(snapshot, name));
  }
  writeRef(model, "main", COMMIT);
  const out = join(folder, "plain");
  const words = [fixture("lines.jsonl"), fixture("*.txt"), "--tokenizer", model.name, "--out", out];
  const cache = { HF_HUB_CACHE: folder, HF_HUB_OFFLINE: "1" };
  const { code, stderr } = await runTaskWith(cache, "tokenize", ...words, "--threads", "1");
  assertEquals(code, 0, stderr);
  assert(stderr.includes(`suture/whole at commit ${COMMIT}`), stderr);
  assertEquals(pair(out), pair(fixture("plain")));
});

Deno.test("tokenize: --help", async () => {
  const { code, stdout } = await runTask("tokenize", "--help");
  assertEquals(code, 0);
  const flags = ["--tokenizer", "--out", "--field", "--append-eod", "--threads", "--resume"];
  for (const word of ["SOURCE...", ...flags]) assert(stdout.includes(`  ${word}`), word);
});
