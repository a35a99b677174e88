/** Where a run starts: an existing teacher, or a new model with random weights. */

import { join } from "node:path";
import type { Recipe } from "../dsl/recipe.ts";
import type { NewModel } from "../dsl/teachers.ts";
import { writeJsonAtomic } from "../formats/atomic_file.ts";
import { type ModelConfig, parseConfig } from "../formats/hf_config/config.ts";
import { openCheckpoint } from "../formats/safetensors/checkpoint.ts";
import { loadTokenizer, type Tokenizer } from "../formats/tokenizer/tokenizer.ts";
import { trainByteLevelBpe } from "../formats/tokenizer/train.ts";
import { type Checkpoint, checkpointTokenizer, inspectCheckpoint } from "../infer/load.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import { initialValues } from "../models/initial_values.ts";
import { conversionOf } from "../plan/conversion.ts";
import { checkpointSpec } from "../plan/spec.ts";
import { sourceTexts } from "./corpus.ts";

/** What a run starts from. */
export interface Origin {
  /** The teacher; absent for a new model. */
  readonly teacher?: Checkpoint;
  readonly student: ModelSpec;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  /** The folder whose tokenizer files go with the result. */
  readonly tokenizerFolder: string;
  /** Gives every parameter of the student its first value. */
  initialise(write: (name: string, values: Float32Array) => void, seed: number): void;
}

function fromTeacher(recipe: Recipe, location: string): Origin {
  const teacher = inspectCheckpoint(location);
  const { student, config, transfers } = conversionOf(recipe, teacher);
  return {
    teacher,
    student,
    config,
    tokenizer: checkpointTokenizer(location, teacher.config),
    tokenizerFolder: location,
    initialise: (write, seed) => {
      using tensors = openCheckpoint(location);
      for (const { parameter, from } of transfers) {
        const values = from === undefined ? initialValues(parameter, seed) : tensors.readF32(from);
        write(parameter.name, values);
      }
    },
  };
}

/** Makes the tokenizer of a new model once and keeps it in the run's folder. */
function newTokenizer(
  recipe: Recipe,
  { tokenizer }: NewModel,
  folder: string,
  note: (message: string) => void,
): string {
  if (tokenizer.kind === "file") return tokenizer.location;
  const made = join(folder, "tokenizer");
  try {
    loadTokenizer(made);
    return made;
  } catch {
    note(`learning ${tokenizer.pieces} pieces of text`);
  }
  function* texts() {
    for (const source of recipe.data) yield* sourceTexts(source);
  }
  const files = trainByteLevelBpe(texts(), tokenizer.pieces, {
    specialTokens: tokenizer.specialTokens,
  });
  Deno.mkdirSync(made, { recursive: true });
  writeJsonAtomic(join(made, "tokenizer_config.json"), files.config);
  writeJsonAtomic(join(made, "tokenizer.json"), files.tokenizer);
  return made;
}

function fromScratch(
  recipe: Recipe,
  model: NewModel,
  folder: string,
  note: (message: string) => void,
): Origin {
  const tokenizerFolder = newTokenizer(recipe, model, folder, note);
  const tokenizer = loadTokenizer(tokenizerFolder);
  const config = parseConfig({
    vocab_size: tokenizer.vocabularySize,
    eos_token_id: tokenizer.eosId ?? null,
    bos_token_id: tokenizer.bosId ?? null,
    ...model.config,
  }, "teacher.config");
  const student = checkpointSpec(config, new Map());
  return {
    student,
    config,
    tokenizer,
    tokenizerFolder,
    initialise: (write, seed) => {
      const deviation = model.config.initializer_range;
      for (const parameter of modelParameters(student)) {
        const { initial } = parameter;
        const drawn = initial.kind === "normal" && deviation !== undefined
          ? { ...parameter, initial: { ...initial, deviation } }
          : parameter;
        write(parameter.name, initialValues(drawn, seed));
      }
    },
  };
}

/** Reads what a recipe starts from. */
export function originOf(
  recipe: Recipe,
  folder: string,
  note: (message: string) => void,
): Origin {
  return recipe.teacher.kind === "checkpoint"
    ? fromTeacher(recipe, recipe.teacher.location)
    : fromScratch(recipe, recipe.teacher, folder, note);
}
