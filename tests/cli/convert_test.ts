import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import type { Recipe } from "../../dsl/recipe.ts";
import { toJson } from "../../dsl/serialise.ts";
import { text } from "../../dsl/sources.ts";
import { align, distill } from "../../dsl/stages.ts";
import { constant } from "../../dsl/schedules.ts";
import { runFolderOf } from "../../train/convert.ts";
import { changedCheckpoint, type CheckpointFiles, temporaryFolder } from "../support/checkpoint.ts";
import { assertRefused, jsonOf, runTask, runTaskOnSmallDisk } from "../support/task.ts";
import { startTask } from "../support/task_process.ts";
import { minuteRecipe, namesIn, sentences, steps, writeTeacher } from "../train/support.ts";

const FLAGS = ["--blas", "none", "--threads", "1"];

/** A folder with a teacher, a text and a recipe, whose result goes two folders deeper. */
interface Place extends Disposable {
  readonly folder: string;
  readonly recipe: Recipe;
  readonly out: string;
  /** Writes the recipe with changes to its JSON; returns the file. */
  // deno-lint-ignore no-explicit-any
  write(change?: (json: any) => void): string;
}

function place(options: Parameters<typeof minuteRecipe>[1] = {}): Place {
  const temporary = temporaryFolder();
  const { folder } = temporary;
  const recipe = minuteRecipe(folder, options);
  const out = join(folder, "results", "first");
  let files = 0;
  return {
    folder,
    recipe,
    out,
    write: (change = () => {}) => {
      const json = JSON.parse(toJson(recipe));
      json.output = out;
      change(json);
      const file = join(folder, `recipe-${files++}.json`);
      Deno.writeTextFileSync(file, JSON.stringify(json));
      return file;
    },
    [Symbol.dispose]: () => temporary[Symbol.dispose](),
  };
}

const convert = (...words: string[]) => runTask("convert", ...words, ...FLAGS);

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
      `${own.out} in \\d+ s`,
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

/** Fails unless a recipe is refused with one message and nothing is left of it. */
async function assertLeavesNothing(
  own: Place,
  file: string,
  ...expected: readonly (string | RegExp)[]
): Promise<void> {
  const before = namesIn(own.folder);
  assertRefused(await convert(file), ...expected);
  assertEquals(namesIn(own.folder), before);
}

Deno.test("convert refuses a recipe that is not there, or not one", async () => {
  using own = place();
  const missing = join(own.folder, "none.ts");
  await assertLeavesNothing(own, missing, `${missing}: there is no such file`, "Check the path");
  const flag = own.write((json) => json.surgery[0].mixer.grupNorm = true);
  await assertLeavesNothing(
    own,
    flag,
    /surgery\[0\]\.mixer\.grupNorm: expected one of the keys .*, found an unknown key; did you mean groupNorm\?/,
  );
  const nothing = own.write((json) =>
    json.surgery[0].layers = { kind: "every", step: 5, offset: 4 }
  );
  await assertLeavesNothing(
    own,
    nothing,
    "surgery[0].layers: expected at least one of the model's 2 layers, found none selected",
  );
  await assertLeavesNothing(
    own,
    own.write((json) => json.surgery[0].layers = { kind: "only", indices: [7] }),
    "surgery[0].layers: expected layers from 0 to 1, or -2 to -1 from the end, found 7",
  );
});

/** What is wrong with a teacher, and what the message says. */
const BAD_TEACHERS: Readonly<
  Record<string, readonly [(files: CheckpointFiles) => void, string | RegExp]>
> = {
  "a tensor of another type": [
    ({ tensors }) => {
      const { shape } = tensors.get("model.norm.weight")!;
      tensors.set("model.norm.weight", { dtype: "I64", shape, data: new Int32Array(shape[0]) });
    },
    /tensor "model\.norm\.weight": expected .*, found .*I64/,
  ],
  "a tensor of another shape": [
    ({ tensors }) =>
      tensors.set("model.norm.weight", { dtype: "F32", shape: [8], data: new Float32Array(8) }),
    /tensor "model\.norm\.weight": expected .*\[16\], found .*\[8\]/,
  ],
  "a tensor that is missing": [
    ({ tensors }) => void tensors.delete("model.layers.1.mlp.up_proj.weight"),
    /tensor "model\.layers\.1\.mlp\.up_proj\.weight": expected .*found/,
  ],
  "another architecture": [
    ({ config }) => config.model_type = "gpt_neox",
    /model_type: expected one of qwen2, llama, rwkv7qwen2, found "gpt_neox"/,
  ],
  "a tokenizer with more pieces than embeddings": [
    ({ config, tensors }) => {
      config.vocab_size = 270;
      const { dtype } = tensors.get("model.embed_tokens.weight")!;
      const data = new Float32Array(270 * 16);
      tensors.set("model.embed_tokens.weight", { dtype, shape: [270, 16], data });
    },
    /tokenizer\.json: expected at most 270 pieces, the embeddings of the model, found 280/,
  ],
};

for (const [name, [change, expected]] of Object.entries(BAD_TEACHERS)) {
  Deno.test(`convert refuses a teacher with ${name}`, async () => {
    using own = place();
    using bad = changedCheckpoint(join(own.folder, "teacher"), change);
    const file = own.write((json) => json.teacher.location = bad.folder);
    await assertLeavesNothing(own, file, expected);
  });
}

Deno.test("convert refuses a teacher that is not there, cut off, or has an absurd header", async () => {
  using own = place();
  const none = join(own.folder, "nobody");
  await assertLeavesNothing(
    own,
    own.write((json) => json.teacher.location = none),
    /nobody\/config\.json: expected .*, found no such file or folder; check the path/,
  );
  const weights = join(own.folder, "teacher", "model.safetensors");
  const bytes = Deno.readFileSync(weights);
  const file = own.write();
  Deno.writeFileSync(weights, bytes.subarray(0, bytes.length - 100));
  await assertLeavesNothing(own, file, /model\.safetensors: expected .*, found/);
  const header = new Uint8Array(16);
  new DataView(header.buffer).setBigUint64(0, 2n ** 60n, true);
  Deno.writeFileSync(weights, header);
  await assertLeavesNothing(own, file, /model\.safetensors.*1152921504606846976/);
  Deno.removeSync(weights);
  await assertLeavesNothing(
    own,
    file,
    "teacher: expected model.safetensors or model.safetensors.index.json, found neither",
  );
});

Deno.test("convert refuses text that is empty, or shorter than a context", async () => {
  using own = place();
  Deno.writeTextFileSync(join(own.folder, "empty.txt"), "");
  await assertLeavesNothing(
    own,
    own.write((json) => json.data[0].globs = [join(own.folder, "empty.txt")]),
    /empty\.txt: expected a corpus with at least one token, found none/,
  );
  await assertLeavesNothing(
    own,
    own.write((json) => {
      json.stages[1].context = 65536;
      json.stages[1].tokens = 1e9;
    }),
    /stages\[1\]\.context: expected at most \d+, so that one sequence fits the training tokens, found 65536/,
  );
});

Deno.test("convert refuses a folder that holds something else", async () => {
  using own = place();
  Deno.mkdirSync(own.out, { recursive: true });
  Deno.writeTextFileSync(join(own.out, "thesis.tex"), "");
  const before = namesIn(join(own.out, ".."));
  await assertLeavesNothing(
    own,
    own.write(),
    /first: expected a new folder, an empty one, or an earlier result, found a folder with thesis\.tex; choose another one with --out/,
  );
  assertEquals(namesIn(join(own.out, "..")), before);
  assertEquals(namesIn(own.out), ["thesis.tex"]);
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
  assertEquals(code, 2, stderr);
  assertMatch(
    stderr,
    /out(\.partial)?.*: expected to write this file, found that the disk is full/,
  );
  assertMatch(stdout, /^out\.run-[0-9a-f]{12}\n$/);
});

Deno.test("convert: a loss that is not finite ends with what to do, without a stack", async () => {
  const astray = { ...steps(9), warmup: 0, lr: constant(1), weightDecay: 1e25 };
  using own = place({ stages: [align(astray)] });
  const [people, json] = [await convert(own.write()), await convert(own.write(), "--json")];
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

Deno.test("convert: a new model's vocabulary must hold its tokenizer's", async () => {
  using own = place();
  const file = own.write((json) => {
    json.teacher = {
      kind: "new",
      config: {
        model_type: "qwen2",
        hidden_size: 16,
        intermediate_size: 32,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        vocab_size: 200,
      },
      tokenizer: { kind: "file", location: writeTeacher(join(own.folder, "teacher")) },
    };
    json.surgery = [];
    json.stages = [{ ...json.stages[1], kind: "pretrain" }];
    json.data = [text(join(own.folder, "text.txt"))];
  });
  await assertLeavesNothing(
    own,
    file,
    /teacher\.config: vocab_size: expected at least the tokenizer's 280 pieces, found 200/,
  );
});
