import { assert, assertEquals, assertMatch } from "@std/assert";
import { evaluate } from "../../infer/evaluation.ts";
import { checkpointTokenizer, inspectCheckpoint, loadCheckpoint } from "../../infer/loading.ts";
import { temporaryFolder } from "../support/checkpoint.ts";
import { assertClose } from "../support/compare.ts";
import { withCpu } from "../support/devices.ts";
import { sharedPath } from "../support/shared.ts";
import { assertRefused, jsonOf, runTask } from "../support/task.ts";

const STORIES = sharedPath("models", "stories260k");
const TEXT = "Once upon a time, there was a little girl. She was very happy. Thé end.\n".repeat(10);

Deno.test("evaluate: tokens, loss, perplexity, bits per byte", async () => {
  using own = temporaryFolder();
  const file = `${own.folder}/story.txt`;
  Deno.writeTextFileSync(file, TEXT);
  const checkpoint = inspectCheckpoint(STORIES);
  const ids = checkpointTokenizer(STORIES, checkpoint.config).encode(TEXT);
  const expected = await withCpu({ threads: 1 }, async (device) => {
    const model = loadCheckpoint(device, checkpoint);
    const text = { length: ids.length, read: (at: number, n: number) => ids.slice(at, at + n) };
    return await evaluate(model, text, 64);
  });
  const [short, usual, table] = await Promise.all([
    runTask("evaluate", STORIES, "--text", file, "--context", "64", "--json"),
    runTask("evaluate", STORIES, "--text", file, "--json"),
    runTask("evaluate", STORIES, "--text", file),
  ]);
  const report = jsonOf(short);
  assertEquals(report.tokens, ids.length - 1);
  assertEquals(report.context, 64);
  assertClose("loss", [report.loss], [expected.loss], 1e-5);
  assertEquals(report.perplexity, Math.exp(report.loss));
  // The tokenizer puts a token before the text, so all of its bytes are predicted.
  const bytes = new TextEncoder().encode(TEXT).length;
  assertEquals(report.bytes, bytes);
  const bits = report.loss * report.tokens / Math.log(2) / bytes;
  assertClose("bits per byte", [report.bitsPerByte], [bits], 1e-12);
  assertEquals(jsonOf(usual).context, 256);
  assertEquals(table.code, 0, table.stderr);
  for (const row of ["tokens +\\d+", "loss +\\d", "perplexity +\\d", "bits per byte +\\d"]) {
    assertMatch(table.stdout, new RegExp(`^${row}`, "m"));
  }
});

Deno.test("evaluate: weights in fewer bits are a little worse", async () => {
  using own = temporaryFolder();
  const file = `${own.folder}/story.txt`;
  Deno.writeTextFileSync(file, TEXT);
  const [f32, q4] = (await Promise.all(
    ["f32", "q4_0"].map((weights) =>
      runTask("evaluate", STORIES, "--text", file, "--weights", weights, "--json")
    ),
  )).map((result) => jsonOf(result));
  assertEquals([f32.weights, q4.weights], ["f32", "q4_0"]);
  const change = Math.abs(q4.loss / f32.loss - 1);
  assert(change > 0 && change < 0.2, `${change}`);
});

Deno.test("evaluate: a short text is one window", async () => {
  using own = temporaryFolder();
  const file = `${own.folder}/short.txt`;
  Deno.writeTextFileSync(file, "Once upon");
  const report = jsonOf(await runTask("evaluate", STORIES, "--text", file, "--json"));
  assertEquals(report.context, report.tokens);
});

Deno.test("evaluate: texts that cannot be measured", async () => {
  using own = temporaryFolder();
  const write = (name: string, content: Uint8Array) => {
    Deno.writeFileSync(`${own.folder}/${name}`, content);
    return `${own.folder}/${name}`;
  };
  const text = new TextEncoder().encode("Once upon a time");
  const run = (...words: string[]) => runTask("evaluate", STORIES, "--text", ...words);
  const missing = run(`${own.folder}/none.txt`);
  const folder = run(own.folder);
  assertRefused(await missing, "none.txt", /no such file or folder; check the path\n$/);
  assertRefused(await folder, /expected a file, found a folder; check the path\n$/);
  const empty = run(write("empty.txt", new Uint8Array()));
  const bytes = run(write("bytes.txt", Uint8Array.of(0x66, 0xff, 0xfe)));
  assertRefused(
    await empty,
    /empty\.txt: expected a text of at least 2 tokens, found \d; .* give a longer text\n$/,
  );
  assertRefused(await bytes, /bytes\.txt: expected UTF-8 text, .* convert the file to UTF-8\n$/);
  const file = write("text.txt", text);
  const long = run(file, "--context", "100");
  const zero = run(file, "--context", "0");
  assertRefused(
    await long,
    /--context: expected at most \d+, the tokens of .*text\.txt that can be predicted, found 100/,
  );
  assertRefused(await zero, '--context: expected a whole number from 1 to 1048576, found "0"');
});
