/** Where a run starts: an existing teacher, or a new model with random weights. */

import type { Recipe } from "../dsl/recipe.ts";
import type { Choice } from "../dsl/surgery.ts";
import type { Checkpoint as Teacher, NewModel } from "../dsl/teachers.ts";
import { FormatError } from "../formats/error.ts";
import { type ModelConfig, parseConfig } from "../formats/hf_config/config.ts";
import { openCheckpoint } from "../formats/safetensors/checkpoint.ts";
import type { Tokenizer } from "../formats/tokenizer/tokenizer.ts";
import { type Checkpoint, checkpointTokenizer, inspectCheckpoint } from "../infer/loading.ts";
import { checkWidths } from "../infer/checks.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import { initialValues } from "../models/initial_values.ts";
import type { Parameter } from "../models/parameter.ts";
import { conversionOf } from "../plan/conversion.ts";
import { checkpointSpec } from "../plan/spec.ts";
import { type FolderOf, pathOf } from "./sources.ts";
import {
  existingTokenizer,
  keptTokenizer,
  madeTokenizer,
  type NamedFile,
  tokenizerFiles,
} from "./tokenizer_files.ts";
import { madeWeights, type StoredWeights } from "./weights.ts";

/** What a run starts from. */
export interface Origin {
  /** The teacher; absent for a new model. */
  readonly teacher?: Checkpoint;
  readonly student: ModelSpec;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  /** Files of the tokenizer, which go with the result. */
  readonly tokenizerFiles: readonly NamedFile[];
  /** Whether the tokenizer was made from the recipe's text. */
  readonly tokenizerIsMade: boolean;
  /** Layers of which some go back to attention, and the student that keeps it in given ones. */
  readonly hybrid?: {
    readonly choice: Choice;
    keeping(layers: readonly number[]): Pick<Origin, "student" | "config">;
  };
  /** Where the recipe's checkpoints are. */
  readonly folderOf: FolderOf;
  /** The first values of the student's parameters. */
  initial(seed: number): StoredWeights;
}

function fromTeacher(recipe: Recipe, location: Teacher, folderOf: FolderOf): Origin {
  const folder = folderOf(location);
  const teacher = inspectCheckpoint(folder);
  const { student, config, transfers, choice } = conversionOf(recipe, teacher);
  return {
    teacher,
    student,
    config,
    tokenizer: checkpointTokenizer(folder, teacher.config),
    tokenizerFiles: tokenizerFiles(folder),
    tokenizerIsMade: false,
    ...(choice && {
      hybrid: { choice, keeping: (layers) => conversionOf(recipe, teacher, layers) },
    }),
    folderOf,
    initial: (seed) => {
      const sources = new Map(transfers.map((transfer) => [transfer.parameter.name, transfer]));
      const made = madeWeights((name) => initialValues(sources.get(name)!.parameter, seed));
      const tensors = openCheckpoint(folder);
      return {
        readRangeF32: (name, start, into) => {
          const from = sources.get(name)?.from;
          if (from === undefined) made.readRangeF32(name, start, into);
          else tensors.readRangeF32(from, start, into);
        },
        [Symbol.dispose]: () => tensors.close(),
      };
    },
  };
}

/** The tokenizer of a new model: the one it names, one that the run keeps, or a new one. */
function newTokenizer(
  { data }: Recipe,
  { tokenizer }: NewModel,
  runFolder: string | undefined,
  note: (message: string) => void,
) {
  if (tokenizer.kind === "file") return existingTokenizer(tokenizer);
  const kept = runFolder === undefined ? undefined : keptTokenizer(runFolder);
  if (kept !== undefined) return kept;
  note(`learning a vocabulary of ${tokenizer.pieces} pieces from the text`);
  return madeTokenizer(tokenizer, data);
}

/** A drawn parameter has the deviation that the model's config asks for. */
function drawn(parameter: Parameter, deviation: number): Parameter {
  const { initial } = parameter;
  if (initial.kind !== "normal") return parameter;
  return { ...parameter, initial: { ...initial, deviation } };
}

function fromScratch(
  recipe: Recipe,
  model: NewModel,
  runFolder: string | undefined,
  note: (message: string) => void,
  folderOf: FolderOf,
): Origin {
  const where = "teacher.config";
  const { tokenizer, files } = newTokenizer(recipe, model, runFolder, note);
  const config = parseConfig({
    vocab_size: tokenizer.vocabularySize,
    eos_token_id: tokenizer.eosId ?? null,
    bos_token_id: tokenizer.bosId ?? null,
    ...model.config,
  }, where);
  checkWidths(where, config);
  if (tokenizer.vocabularySize > config.vocabSize) {
    throw new FormatError({
      file: where,
      at: "vocab_size",
      expected: `at least the tokenizer's ${tokenizer.vocabularySize} pieces`,
      found: `${config.vocabSize}`,
      advice: "leave vocab_size out: the tokenizer says it",
    });
  }
  const student = checkpointSpec(config, new Map());
  return {
    student,
    config,
    tokenizer,
    tokenizerFiles: files,
    tokenizerIsMade: model.tokenizer.kind === "byteLevelBpe",
    folderOf,
    initial: (seed) => {
      const parameters = new Map(modelParameters(student).map((p) => [p.name, p]));
      const made = madeWeights((name) =>
        initialValues(drawn(parameters.get(name)!, model.config.initializer_range), seed)
      );
      return { ...made, [Symbol.dispose]: () => {} };
    },
  };
}

/**
 * Reads what a recipe starts from. Nothing is written.
 * @param runFolder of the run that is resumed
 * @param folderOf where the recipe's checkpoints are; at their paths unless it says otherwise
 * @throws FormatError and RecipeError for all that is wrong with teacher, tokenizer and surgery.
 */
export function originOf(
  recipe: Recipe,
  runFolder: string | undefined,
  note: (message: string) => void,
  folderOf: FolderOf = pathOf,
): Origin {
  return recipe.teacher.kind === "checkpoint"
    ? fromTeacher(recipe, recipe.teacher, folderOf)
    : fromScratch(recipe, recipe.teacher, runFolder, note, folderOf);
}
