/** What the tests of train/ share: a teacher and a text that are done with in no time. */

import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Device } from "../../devices/device.ts";
import { type Recipe, recipe } from "../../dsl/recipe.ts";
import { align, distill, type Stage } from "../../dsl/stages.ts";
import { layers } from "../../dsl/selectors.ts";
import { radRwkv7 } from "../../dsl/mixers.ts";
import { constant } from "../../dsl/schedules.ts";
import { type Data, text } from "../../dsl/sources.ts";
import { teacher } from "../../dsl/teachers.ts";
import { parseConfig } from "../../formats/hf_config/config.ts";
import { openCheckpoint } from "../../formats/safetensors/checkpoint.ts";
import { writeCheckpoint } from "../../formats/safetensors/write_checkpoint.ts";
import { trainByteLevelBpe } from "../../formats/tokenizer/train.ts";
import { modelParameters } from "../../models/decoder.ts";
import { initialValues } from "../../models/initial_values.ts";
import { checkpointSpec } from "../../plan/spec.ts";
import { runRecipe } from "../../train/conversion.ts";
import type { Report } from "../../train/report.ts";
import type { RunEvents, RunOptions, RunOutcome, StopRequest } from "../../train/run.ts";
import { temporaryFolder } from "../support/checkpoint.ts";
import { withCpu } from "../support/devices.ts";
import { random } from "../support/random.ts";

const WORDS =
  "the a sea whale ship captain and of to in was it that he with old white long day night"
    .split(" ");

/** Sentences of a few words, the same for the same seed. */
export function sentences(count: number, seed = 1): string {
  const { pick, below } = random(seed);
  const sentence = () => Array.from({ length: 4 + below(8) }, () => pick(WORDS)).join(" ");
  return Array.from({ length: count }, () => `${sentence()}.\n`).join("");
}

/** A qwen2 with 2 layers, hidden size 16 and 2 heads of 8, as in a config.json. */
export const TEACHER_CONFIG = {
  model_type: "qwen2",
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 8,
  tie_word_embeddings: true,
  max_position_embeddings: 1024,
};

/** Writes a teacher with random weights and a tokenizer of 280 pieces. */
export function writeTeacher(
  folder: string,
  changes: Readonly<Record<string, unknown>> = {},
): string {
  const { tokenizer, config: tokenizerConfig } = trainByteLevelBpe([sentences(50)], 280);
  const json = {
    ...TEACHER_CONFIG,
    vocab_size: 280,
    eos_token_id: 0,
    torch_dtype: "float32",
    ...changes,
  };
  const spec = checkpointSpec(parseConfig(json), new Map());
  const tensors = modelParameters(spec).map((parameter) => ({
    name: parameter.name,
    dtype: "F32" as const,
    shape: parameter.shape,
    // Wide enough for attention to prefer some tokens to others.
    data: initialValues(parameter, 7).map((x) => parameter.initial.kind === "normal" ? 12 * x : x),
  }));
  writeCheckpoint(folder, tensors);
  Deno.writeTextFileSync(join(folder, "config.json"), JSON.stringify(json));
  Deno.writeTextFileSync(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  Deno.writeTextFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(tokenizerConfig));
  return folder;
}

/** What a minute recipe may be asked to have otherwise. */
export interface MinuteOptions {
  readonly stages?: readonly Stage<"align" | "distill" | "finetune">[];
  readonly data?: Data;
  readonly surgery?: Parameters<typeof recipe>[0]["surgery"];
  readonly seed?: number;
  readonly heldOut?: number;
}

/** Options of a stage of a few steps of 2 × 16 tokens. */
export const steps = (count: number, more: object = {}) => ({
  tokens: count * 32,
  context: 16,
  batch: 2,
  warmup: 2,
  lr: constant(1e-3),
  ...more,
});

/** A recipe, with its teacher and text, in a folder: two stages of a few steps. */
export function minuteRecipe(folder: string, options: MinuteOptions = {}): Recipe {
  writeTeacher(join(folder, "teacher"));
  Deno.writeTextFileSync(join(folder, "text.txt"), sentences(200));
  const { stages = [align(steps(6)), distill(steps(4))], data, surgery, ...more } = options;
  return recipe({
    teacher: teacher(join(folder, "teacher")),
    surgery: (surgery ?? [layers.all.to(radRwkv7())]) as [],
    stages: [...stages],
    data: data ?? text(join(folder, "text.txt")),
    output: join(folder, "out"),
    heldOut: 0.1,
    ...more,
  });
}

/** Nothing is shown. */
export const QUIET: RunEvents = {
  note: () => {},
  progress: () => {},
  step: () => {},
  measured: () => {},
  kept: () => {},
};

/** Runs a recipe on a device, to the end. */
export async function run(
  device: Device,
  recipe: Recipe,
  options: Partial<RunOptions> = {},
): Promise<Report> {
  const outcome = await runRecipe(recipe, {
    device,
    out: recipe.output,
    resume: false,
    dtype: "float32",
    checkpointSeconds: Infinity,
    events: QUIET,
    ...options,
  });
  if (outcome.kind !== "done") throw new Error(`the run is not done: ${JSON.stringify(outcome)}`);
  return outcome.report;
}

/** Runs a test with a folder of its own and a CPU device. */
export async function withFolder(
  body: (folder: string, device: Device) => Promise<void>,
  threads = 1,
): Promise<void> {
  using temporary = temporaryFolder();
  await withCpu({ threads }, (device) => body(temporary.folder, device));
}

/** Tensors of a checkpoint as f32. */
export function weightsOf(path: string): Map<string, Float32Array> {
  using tensors = openCheckpoint(path);
  return new Map([...tensors.tensors.keys()].map((name) => [name, tensors.readF32(name)]));
}

/** SHA-256 of the weights that a recipe has resulted in. */
export function digestOf({ output }: Recipe): string {
  const bytes = Deno.readFileSync(join(output, "model.safetensors"));
  return createHash("sha256").update(bytes).digest("hex");
}

/** Listens for a wish to stop that comes when it is asked for the n-th time, from 0. */
export const stopAt = (n: number) => (): StopRequest => {
  let asked = 0;
  return {
    get wanted() {
      return asked++ === n;
    },
    [Symbol.dispose]: () => {},
  };
};

/** Names of what is in a folder, sorted; undefined where there is none. */
export function namesIn(folder: string): string[] | undefined {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Runs a recipe as `convert --resume` does, without checkpoints in between. */
export function go(
  device: Device,
  recipe: Recipe,
  options: Partial<RunOptions> = {},
): Promise<RunOutcome> {
  return runRecipe(recipe, {
    device,
    out: recipe.output,
    resume: true,
    dtype: "float32",
    checkpointSeconds: Infinity,
    events: QUIET,
    ...options,
  });
}
