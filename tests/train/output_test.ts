import { assert, assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { FormatError } from "../../formats/error.ts";
import { parseConfig } from "../../formats/hf_config/config.ts";
import { CODE_FILES } from "../../formats/hf_modeling/code.ts";
import { openCheckpoint } from "../../formats/safetensors/checkpoint.ts";
import {
  checkOutput,
  earlierReport,
  type Output,
  recoverOutput,
  writeOutput,
} from "../../train/output.ts";
import type { Report } from "../../train/report.ts";
import { temporaryFolder } from "../support/checkpoint.ts";
import { namesIn, TEACHER_CONFIG } from "./support.ts";

const CONFIG = parseConfig({ ...TEACHER_CONFIG, vocab_size: 9, bos_token_id: 1, eos_token_id: 2 });

function output(changes: Partial<Output> = {}): Output {
  return {
    config: CONFIG,
    dtype: "float32",
    tensors: [{ name: "x", shape: [2], data: Float32Array.of(1, 1.00390625) }],
    tokenizerFiles: [{ name: "tokenizer.json", content: new TextEncoder().encode("{}") }],
    recipe: "{}\n",
    report: { recipeHash: "abc" } as Report,
    ...changes,
  };
}

const FILES = [
  "config.json",
  "generation_config.json",
  "model.safetensors",
  "recipe.json",
  "report.json",
  "tokenizer.json",
];

Deno.test("output: a Hugging Face folder, with recipe, report and telemetry", () => {
  using temporary = temporaryFolder();
  const telemetry = join(temporary.folder, "lines");
  Deno.writeTextFileSync(telemetry, '{"step":1}\n');
  const out = join(temporary.folder, "out");
  writeOutput(out, output({ telemetry }));
  assertEquals(namesIn(out), [...FILES, "telemetry.jsonl"].sort());
  assertEquals(namesIn(temporary.folder), ["lines", "out"]);
  const json = (name: string) => JSON.parse(Deno.readTextFileSync(join(out, name)));
  assertEquals(json("config.json").torch_dtype, "float32");
  assertEquals(json("config.json").model_type, "qwen2");
  assertEquals(json("generation_config.json"), {
    bos_token_id: 1,
    eos_token_id: [2],
    do_sample: false,
  });
  assertEquals(json("report.json"), { recipeHash: "abc" });
  assertEquals(Deno.readTextFileSync(join(out, "telemetry.jsonl")), '{"step":1}\n');
});

Deno.test("output: a converted model comes with the code that opens it", () => {
  using temporary = temporaryFolder();
  const out = join(temporary.folder, "out");
  const config = parseConfig({
    ...TEACHER_CONFIG,
    ...{ model_type: "rwkv7qwen2", vocab_size: 9, use_rope: true, balance_state: false },
    ...{ groupnorm_att: true, gate_rank_type: 0, lora_rank_decay: 2, lora_rank_iclr: 2 },
    lora_rank_value_residual_mix: 2,
  });
  writeOutput(out, output({ config }));
  assertEquals(namesIn(out), [...FILES, ...CODE_FILES].sort());
  const written = JSON.parse(Deno.readTextFileSync(join(out, "config.json")));
  assertEquals(written.architectures, ["RWKV7Qwen2ForCausalLM"]);
  assertEquals(written.auto_map, {
    AutoConfig: "configuration_rwkvqwen2.RWKV7Qwen2Config",
    AutoModelForCausalLM: "modeling_rwkvqwen2.RWKV7Qwen2ForCausalLM",
  });
  for (const reference of Object.values<string>(written.auto_map)) {
    const [file, name] = reference.split(".");
    const code = Deno.readTextFileSync(join(out, `${file}.py`));
    assert(code.includes(`class ${name}(`), reference);
  }
});

Deno.test("output: telemetry that is not there is left out", () => {
  using temporary = temporaryFolder();
  const out = join(temporary.folder, "out");
  writeOutput(out, output({ telemetry: join(temporary.folder, "none") }));
  assertEquals(namesIn(out), FILES);
});

for (const [dtype, stored] of [["float32", "F32"], ["bfloat16", "BF16"], ["float16", "F16"]]) {
  Deno.test(`output: weights as ${dtype}`, () => {
    using temporary = temporaryFolder();
    const out = join(temporary.folder, "out");
    writeOutput(out, output({ dtype: dtype as Output["dtype"] }));
    using tensors = openCheckpoint(out);
    assertEquals(tensors.info("x").dtype, stored);
    // 1 + 2^−8 is half way between two numbers of bf16 and goes to the even one.
    const second = dtype === "bfloat16" ? 1 : 1.00390625;
    assertEquals([...tensors.readF32("x")], [1, second]);
    const config = JSON.parse(Deno.readTextFileSync(join(out, "config.json")));
    assertEquals(config.torch_dtype, dtype);
  });
}

Deno.test("output: only a new folder, an empty one or an earlier result is written to", () => {
  using temporary = temporaryFolder();
  const out = join(temporary.folder, "out");
  checkOutput(out);
  Deno.mkdirSync(out);
  checkOutput(out);
  writeOutput(out, output());
  checkOutput(out);

  const foreign = join(temporary.folder, "foreign");
  Deno.mkdirSync(foreign);
  for (const name of ["a", "b", "c", "d"]) Deno.writeTextFileSync(join(foreign, name), "");
  const { message } = assertThrows(() => checkOutput(foreign), FormatError);
  assert(message.includes("expected a new folder, an empty one, or an earlier result"), message);
  assert(/found a folder with ., ., ., …; choose another one with --out/.test(message), message);
  assertThrows(() => checkOutput(join(foreign, "a")), FormatError, "a: expected");

  // What a new result pushes aside must not push somebody else's folder away.
  Deno.renameSync(foreign, `${out}.old`);
  assertThrows(() => checkOutput(out), FormatError, "out.old: expected");
});

Deno.test("output: replaces an earlier result as a whole", () => {
  using temporary = temporaryFolder();
  const out = join(temporary.folder, "out");
  writeOutput(out, output({ tokenizerFiles: [{ name: "merges.txt", content: new Uint8Array() }] }));
  // Left by a run that was killed.
  for (const name of ["out.partial", "out.old"]) {
    Deno.mkdirSync(join(temporary.folder, name));
    Deno.writeTextFileSync(join(temporary.folder, name, "report.json"), "{}");
  }
  writeOutput(out, output());
  assertEquals(namesIn(out), FILES);
  assertEquals(namesIn(temporary.folder), ["out"]);
});

Deno.test("output: an earlier result survives what goes wrong", () => {
  using temporary = temporaryFolder();
  const out = join(temporary.folder, "out");
  writeOutput(out, output());
  const bad = output({ tensors: [{ name: "x", shape: [3], data: new Float32Array(2) }] });
  assertThrows(() => writeOutput(out, bad), RangeError, "takes 12 bytes");
  assertEquals(namesIn(out), FILES);
  assertEquals(namesIn(temporary.folder), ["out"]);
});

Deno.test("output: an earlier result comes back where the new one was killed on its way", () => {
  using temporary = temporaryFolder();
  const out = join(temporary.folder, "out");
  recoverOutput(out);
  assertEquals(namesIn(temporary.folder), []);
  writeOutput(out, output());
  recoverOutput(out);
  assertEquals(namesIn(temporary.folder), ["out"]);
  Deno.renameSync(out, `${out}.old`);
  recoverOutput(out);
  assertEquals(namesIn(temporary.folder), ["out"]);
  assertEquals(namesIn(out), FILES);
  // Nothing of ours.
  Deno.mkdirSync(join(temporary.folder, "x.old"));
  recoverOutput(join(temporary.folder, "x"));
  assertEquals(namesIn(temporary.folder), ["out", "x.old"]);
});

Deno.test("output: an earlier report is found by the recipe's hash", () => {
  using temporary = temporaryFolder();
  const out = join(temporary.folder, "out");
  assertEquals(earlierReport(out, "abc"), undefined);
  writeOutput(out, output());
  assertEquals(earlierReport(out, "abc")?.recipeHash, "abc");
  assertEquals(earlierReport(out, "abd"), undefined);
});
