/** Where the weights begin: an existing checkpoint, or a new model with random initial weights. */
import { type ModelConfig, type ModelConfigOptions, readModelConfig } from "./model_config.ts";
import {
  inside,
  object,
  oneOf,
  type Reader,
  refuseAs,
  required,
  sound,
  string,
  tagged,
} from "./schema.ts";
import { readTokenizer, type Tokenizer } from "./tokenizers.ts";

/** A Hugging Face checkpoint. */
export interface Checkpoint {
  readonly kind: "checkpoint";
  /** A directory with config.json, weights and tokenizer, relative to the current one. */
  readonly location: string;
}

/** A model that does not exist yet. */
export interface NewModel {
  readonly kind: "new";
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
}

export type Teacher = Checkpoint | NewModel;

/** The checkpoint to convert. */
export const teacher = (location: string): Checkpoint => {
  return Object.freeze({ kind: "checkpoint", location });
};

export interface NewModelOptions {
  readonly config: ModelConfigOptions;
  /** `byteLevelBpe(pieces)`, or the path of a tokenizer.json. */
  readonly tokenizer: Tokenizer | string;
}

/**
 * A model with random initial weights, for `pretrain`. Its defaults are filled in by `recipe`, which
 * knows whether there is enough to derive them from.
 */
export const newModel = (options: NewModelOptions): NewModel => {
  return Object.freeze({ ...options, kind: "new" } as NewModel);
};

export const readCheckpoint: Reader<Checkpoint> = object<Checkpoint>('teacher("path")', {
  kind: required(oneOf("checkpoint")),
  location: required(string("a path")),
});

const readParts = object<NewModel>("newModel({ config, tokenizer })", {
  kind: required(oneOf("new")),
  config: required(readModelConfig),
  tokenizer: required(readTokenizer),
});

/** Reads a new model; a tokenizer that is yet to be made decides the size of the vocabulary. */
const readNewModel: Reader<NewModel> = (value, at) => {
  const model = readParts(value, at);
  if (!sound(at, "config", "tokenizer") || model.tokenizer.kind !== "byteLevelBpe") return model;
  const { pieces } = model.tokenizer;
  const { vocab_size = pieces } = model.config;
  if (vocab_size < pieces) {
    const expected = `at least the tokenizer's ${pieces} pieces`;
    refuseAs(inside(inside(at, "config"), "vocab_size"), expected, `${vocab_size}`);
  }
  return Object.freeze({ ...model, config: Object.freeze({ ...model.config, vocab_size }) });
};

export const readTeacher: Reader<Teacher> = tagged<Teacher>(
  'teacher("path") or newModel({ config, tokenizer })',
  { checkpoint: readCheckpoint, new: readNewModel },
);
