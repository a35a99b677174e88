import { assert, assertEquals, assertMatch } from "@std/assert";
import { changedCheckpoint, temporaryFolder } from "../support/checkpoint.ts";
import { sharedPath } from "../support/shared.ts";
import { assertRefused, jsonOf, runTask } from "../support/task.ts";

const STORIES = sharedPath("models", "stories260k");
const expected = JSON.parse(Deno.readTextFileSync(`${STORIES}/expected.json`));
const PROMPT: string = expected.prompts[0].text;

Deno.test("generate: writes the prompt and what follows, and sums up on stderr", async () => {
  const { code, stdout, stderr } = await runTask(
    "generate",
    ...[STORIES, "--prompt", PROMPT, "--tokens", "64", "--threads", "1", "--blas", "none"],
  );
  assertEquals(code, 0, stderr);
  assertEquals(stdout, `${expected.greedy_text}\n`);
  const [device, summary, end] = stderr.split("\n");
  assertMatch(device, /^cpu: 1 thread, .*(WebAssembly SIMD(, 8 lanes)?|AVX.* kernels)$/);
  assertMatch(
    summary,
    /^64 tokens, the first after [\d.]+ s, [\d.]+ tokens\/s from then on, 100\.0 KiB of state$/,
  );
  assertEquals(end, "");
});

Deno.test("generate: --json", async () => {
  const run = (seed: string) =>
    runTask(
      "generate",
      ...[STORIES, "--prompt", PROMPT, "--tokens", "12", "--temperature", "0.9"],
      ...["--top-p", "0.95", "--seed", seed, "--json"],
    );
  const [first, again, other] = (await Promise.all([run("1"), run("1"), run("2")]))
    .map((result) => jsonOf(result));
  assertEquals(first.prompt, PROMPT);
  assertEquals(first.promptIds, expected.prompts[0].ids);
  assertEquals(first.tokens, 12);
  assertEquals(first.ids.length, 12);
  assert(first.text.startsWith(PROMPT));
  assert(first.seconds > first.firstSeconds && first.tokensPerSecond > 0);
  // 5 layers of 4 key/value heads of 8, keys and values, f32.
  assertEquals(first.stateBytes, 5 * 2 * 4 * 8 * 4 * (first.promptIds.length + 12));
  assertEquals(again.ids, first.ids);
  assert(other.ids.join() !== first.ids.join());
});

Deno.test("generate: it ends where the model ends its text", async () => {
  // The model's own choice becomes the token that ends a text.
  const third = jsonOf(
    await runTask("generate", STORIES, "--prompt", PROMPT, "--tokens", "3", "--json"),
  );
  using copy = changedCheckpoint(STORIES, ({ config }) => config.eos_token_id = third.ids[2]);
  const ended = jsonOf(await runTask("generate", copy.folder, "--prompt", PROMPT, "--json"));
  assertEquals(ended.ids, third.ids.slice(0, third.ids.indexOf(third.ids[2])));
});

Deno.test("generate: a reader that goes away ends it quietly", async () => {
  const command = `"$0" task --quiet generate "$1" --prompt a --tokens 100 | head -c 1`;
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", command, Deno.execPath(), STORIES],
  }).output();
  assertEquals({ code, length: stdout.length }, { code: 0, length: 1 });
  assert(!new TextDecoder().decode(stderr).includes("BrokenPipe"));
});

Deno.test("generate: numbers that cannot be", async () => {
  const flags = ["--tokens", "0", "--temperature", "-1", "--top-p", "0", "--seed", "x"];
  assertRefused(
    await runTask("generate", STORIES, "--prompt", PROMPT, ...flags),
    '--tokens: expected a whole number from 1, found "0"',
    '--temperature: expected a number from 0, found "-1"',
    '--top-p: expected a number above 0, at most 1, found "0"',
    '--seed: expected a whole number from 0, found "x"',
  );
});

/** Checkpoints that are none, each with what is said of it. */
const BROKEN: readonly (readonly [
  name: string,
  make: () => { folder: string } & Disposable,
  message: string | RegExp,
])[] = [
  ["no folder", () => {
    const { folder, [Symbol.dispose]: dispose } = temporaryFolder();
    return { folder: `${folder}/nothing`, [Symbol.dispose]: dispose };
  }, /nothing\/config\.json: .*no such file or folder; check the path\n$/],
  ["a folder without weights", () => {
    const copy = changedCheckpoint(STORIES);
    Deno.removeSync(`${copy.folder}/model.safetensors`);
    return copy;
  }, /model\.safetensors/],
  ["config.json that is no JSON", () => {
    const copy = changedCheckpoint(STORIES);
    Deno.writeTextFileSync(`${copy.folder}/config.json`, "{");
    return copy;
  }, /config\.json: expected JSON, found /],
  [
    "an architecture that is not known",
    () => changedCheckpoint(STORIES, ({ config }) => config.model_type = "mamba"),
    'model_type: expected one of qwen2, qwen3, llama, mistral, rwkv6qwen2, rwkv7qwen2, found "mamba"',
  ],
  ["a truncated file", () => {
    const copy = changedCheckpoint(STORIES);
    Deno.truncateSync(`${copy.folder}/model.safetensors`, 500_000);
    return copy;
  }, "the file is cut off: download it again"],
  ["a header of 2^60 bytes", () => {
    const copy = changedCheckpoint(STORIES);
    const bytes = new Uint8Array(16);
    new DataView(bytes.buffer).setBigUint64(0, 1n << 60n, true);
    Deno.writeFileSync(`${copy.folder}/model.safetensors`, bytes);
    return copy;
  }, "header: expected at most 100000000 bytes, found a length of 1152921504606846976"],
  [
    "a wrong type",
    () =>
      changedCheckpoint(STORIES, ({ tensors }) => {
        const data = new Int32Array(64);
        tensors.set("model.norm.weight", { dtype: "I32", shape: [64], data });
      }),
    '"model.norm.weight": expected dtype F64, F32, F16, BF16, found I32',
  ],
  [
    "a wrong shape",
    () => changedCheckpoint(STORIES, ({ config }) => config.intermediate_size = 100),
    '"model.layers.0.mlp.gate_proj.weight": expected shape [100, 64], found [172, 64]',
  ],
  [
    "a tensor that is missing",
    () => changedCheckpoint(STORIES, ({ tensors }) => void tensors.delete("model.norm.weight")),
    '"model.norm.weight": expected a tensor of shape [64], found none of this name',
  ],
  ["no tokenizer", () => {
    const copy = changedCheckpoint(STORIES);
    Deno.removeSync(`${copy.folder}/tokenizer.json`);
    return copy;
  }, /tokenizer\.json: .*check the path\n$/],
  [
    "a vocabulary beyond the embedding",
    () =>
      changedCheckpoint(STORIES, ({ config, tensors }) => {
        config.vocab_size = 500;
        const { dtype, data } = tensors.get("model.embed_tokens.weight")!;
        const cut = (data as Uint8Array).subarray(0, 500 * 64 * 4);
        tensors.set("model.embed_tokens.weight", { dtype, shape: [500, 64], data: cut });
      }),
    "tokenizer.json: expected at most 500 pieces, the embeddings of the model, found 512",
  ],
];

Deno.test("generate: checkpoints that are none", async () => {
  for (const [name, make, message] of BROKEN) {
    using copy = make();
    const result = await runTask("generate", copy.folder, "--prompt", "Once");
    assertRefused(result, message);
    assert(result.stderr.trimEnd().split("\n").length <= 22, `${name}: one clear error`);
  }
});

Deno.test("generate: prompts of a file, several at a time, each as it is alone", async () => {
  using own = temporaryFolder();
  const file = `${own.folder}/prompts.txt`;
  const prompts = [PROMPT, "The dog", "Lily wanted"];
  Deno.writeTextFileSync(file, `${prompts.join("\n\n")}\n`);
  const flags = ["--tokens", "20", "--temperature", "0.7", "--threads", "1", "--blas", "none"];
  const many = ["--prompts", file, "--streams", "2", "--seed", "3"];
  const [people, json, ...alone] = await Promise.all([
    runTask("generate", STORIES, ...many, ...flags),
    runTask("generate", STORIES, ...many, ...flags, "--json"),
    ...prompts.map((prompt, i) =>
      runTask("generate", STORIES, "--prompt", prompt, "--seed", `${3 + i}`, ...flags, "--json")
    ),
  ]);
  const { texts, tokens, streams } = jsonOf(json);
  const expected = alone.map((result) => {
    const { prompt, text, promptIds, ids } = jsonOf(result);
    return { prompt, text, promptIds, ids };
  });
  assertEquals(texts, expected);
  assertEquals([tokens, streams], [60, 2]);
  assertEquals(people.stdout, expected.map(({ text }, i) => `[${i + 1}] ${text}\n`).join(""));
  assertMatch(people.stderr, /^3 texts, 60 tokens, [\d.]+ tokens\/s$/m);
});

Deno.test("generate: weights in every format", async () => {
  const written = await Promise.all(["f32", "bf16", "q8_0", "q4_0"].map(async (weights) => {
    const flags = ["--prompt", PROMPT, "--tokens", "16", "--weights", weights, "--json"];
    const report = jsonOf(await runTask("generate", STORIES, ...flags));
    assertEquals(report.weights, weights);
    return report.text as string;
  }));
  assert(written.every((text) => text.startsWith(PROMPT)));
  // Eight bits and more change nothing of this text.
  assertEquals(new Set(written.slice(0, 3)).size, 1);
});

Deno.test("generate: one prompt or a file of them", async () => {
  using own = temporaryFolder();
  const empty = `${own.folder}/empty.txt`;
  Deno.writeTextFileSync(empty, "\n\n");
  const run = (...flags: string[]) => runTask("generate", STORIES, ...flags);
  const none = run();
  const both = run("--prompt", "a", "--prompts", empty);
  const lines = run("--prompts", empty);
  const streams = run("--prompt", "a", "--streams", "2");
  const format = run("--prompt", "a", "--weights", "q5_0");
  assertRefused(await none, "--prompt, --prompts: expected one of the two, found neither");
  assertRefused(await both, "--prompt, --prompts: expected one of the two, found both");
  assertRefused(await lines, `${empty}: expected a prompt a line, found no line with text`);
  assertRefused(await streams, "--streams: expected --prompts, of which so many are written");
  assertRefused(await format, '--weights: expected f32, bf16, q8_0 or q4_0, found "q5_0"');
});

Deno.test("generate: a folder that is not there, and the one that may be meant", async () => {
  const wrong = STORIES.replace("stories260k", "storys260k");
  assertRefused(
    await runTask("generate", wrong, "--prompt", "a"),
    `expected a folder, found no such file or folder; did you mean ${STORIES}?`,
  );
});
