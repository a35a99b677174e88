/** Where the weights begin: an existing checkpoint, or a new model with random initial weights. */
import { type ModelConfig, type ModelConfigOptions, readModelConfig } from "./model_config.ts";
import { isModelName, isRevision } from "./model_name.ts";
import {
  checked,
  inside,
  object,
  oneOf,
  optional,
  path,
  type Reader,
  refuse,
  refuseAs,
  required,
  sound,
  string,
  tagged,
} from "./schema.ts";
import { readTokenizer, type Tokenizer } from "./tokenizers.ts";

/** A Hugging Face checkpoint. */
export interface Checkpoint {
  /** Told apart from a new model by this. */
  readonly kind: "checkpoint";
  /**
   * A directory with config.json, weights and tokenizer, relative to the current one; or, where
   * there is none, the name of a model on the hub: `Qwen/Qwen2.5-0.5B-Instruct`.
   */
  readonly location: string;
  /** Branch, tag or commit of a model on the hub; absent for its main branch. */
  readonly revision?: string;
}

/** What else can be said of a checkpoint. */
export interface CheckpointOptions {
  /** Branch, tag or commit of a model on the hub. Default its main branch. */
  readonly revision?: string;
}

/** A model that does not exist yet. */
export interface NewModel {
  /** Told apart from a checkpoint by this. */
  readonly kind: "new";
  /** The model's shape. */
  readonly config: ModelConfig;
  /** Made from the recipe's text, or an existing one. */
  readonly tokenizer: Tokenizer;
}

/** Where the weights begin. */
export type Teacher = Checkpoint | NewModel;

/**
 * The checkpoint to convert: a directory, or a model of the Hugging Face hub by its name, as in
 * `teacher("Qwen/Qwen2.5-0.5B-Instruct", { revision: "main" })`. A directory that exists wins.
 */
export const teacher = (location: string, { revision }: CheckpointOptions = {}): Checkpoint => {
  const checkpoint = { kind: "checkpoint", location } as const;
  return Object.freeze(revision === undefined ? checkpoint : { ...checkpoint, revision });
};

/** What an author says of a model that does not exist yet. */
export interface NewModelOptions {
  /** Its shape, by the keys of a Hugging Face config.json. */
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

/** A text that can name a revision. */
const readRevision: Reader<string> = (value, at) => {
  const what = "a branch, a tag or a commit";
  const text = string(what)(value, at);
  return typeof text === "string" && !isRevision(text) ? refuse(at, what, text) : text;
};

/** Reads a checkpoint. Only a model of the hub has revisions. */
export const readCheckpoint: Reader<Checkpoint> = checked(
  object<Checkpoint>('teacher("path or name")', {
    kind: required(oneOf("checkpoint")),
    location: required(path("a path, or the name of a model on the hub")),
    revision: optional(readRevision),
  }),
  ({ location, revision }, at) => {
    if (revision === undefined || !sound(at, "location", "revision")) return;
    if (isModelName(location)) return;
    const expected = "the name of a model, such as Qwen/Qwen2.5-0.5B-Instruct, beside a revision";
    refuse(inside(at, "location"), expected, location);
  },
);

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
  'teacher("path or name") or newModel({ config, tokenizer })',
  { checkpoint: readCheckpoint, new: readNewModel },
);
