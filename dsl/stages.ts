/**
 * Stages of training, with the defaults of RADLADS (arXiv 2505.03005): stage 1 aligns each mixer
 * with the attention that it replaces, stage 2 distils the logits, stage 3 trains on the text alone.
 */
import {
  type At,
  boolean,
  checked,
  defaulted,
  type Fields,
  inside,
  integer,
  number,
  object,
  oneOf,
  optional,
  type Reader,
  refuse,
  refuseAs,
  required,
  sound,
  tagged,
} from "./schema.ts";
import { constant, cosine, readSchedule, type Schedule, scheduleText } from "./schedules.ts";
import { type Data, readData, type Source, sourcesOf } from "./sources.ts";
import { tokens } from "./tokens.ts";
import { readTrains, type Trains } from "./trains.ts";

export type StageKind = "align" | "distill" | "finetune" | "pretrain";

/** One stage of any of these kinds. */
export type Stage<K extends StageKind = StageKind> = K extends StageKind ? StageOf<K> : never;

/** One stage, everything written out. */
export interface StageOf<K extends StageKind> {
  readonly kind: K;
  /** What reports call it. */
  readonly name: string;
  /** Tokens to train on; steps are ⌊tokens / (batch · context)⌋. */
  readonly tokens: number;
  /** Tokens a sequence, a multiple of 16. */
  readonly context: number;
  /** Sequences a step. */
  readonly batch: number;
  readonly lr: Schedule;
  /** The rate of converted layers' mixers, in place of `lr`; the same warm-up. */
  readonly mixerLr?: Schedule;
  /** Steps of warm-up. */
  readonly warmup: number;
  /** Parts that a step's batch is computed in, their gradients summed. */
  readonly accumulate: number;
  /** Largest norm of the gradient; 0 does not clip. */
  readonly clip: number;
  readonly weightDecay: number;
  /** AdamW's β₁ and β₂. */
  readonly betas: readonly [number, number];
  /** AdamW's ε. */
  readonly epsilon: number;
  readonly trains: Trains;
  /** In place of the recipe's data. */
  readonly data?: readonly Source[];
  /** Computes activations again in the backward pass in place of keeping them. */
  readonly rematerialise: boolean;
  /** Stage 1 one layer after another, from disk; all at once where it is missing. */
  readonly streamed?: true;
}

/** What an author may say about a stage. */
export interface StageOptions {
  /** Tokens to train on: `tokens("100M")`. */
  readonly tokens?: number;
  /** Tokens a sequence, a multiple of 16. */
  readonly context?: number;
  /** Sequences a step. */
  readonly batch?: number;
  /** `constant`, `cosine`, `linear` or `cosineBetween`. */
  readonly lr?: Schedule;
  /**
   * A rate of their own for the sequence mixers of converted layers, q/k/v/o included, where the
   * stage trains more than these (paper, section 4.4). Default: as `lr`.
   */
  readonly mixerLr?: Schedule;
  /** Steps of warm-up. Default 50. */
  readonly warmup?: number;
  /** Parts that a step's batch is computed in; divides `batch`. Default 1. */
  readonly accumulate?: number;
  /** Largest norm of the gradient; 0 does not clip. Default 1. */
  readonly clip?: number;
  /** Default 0. */
  readonly weightDecay?: number;
  /** AdamW's β₁ and β₂. Default [0.9, 0.95]. */
  readonly betas?: readonly [number, number];
  /** AdamW's ε. Default 1e-8. */
  readonly epsilon?: number;
  /** `"mixers"`, `"everything"` or `match("glob")`. Default mixers in `align`, else everything. */
  readonly trains?: Trains;
  /** What reports call the stage. Default its kind. */
  readonly name?: string;
  /** Data of this stage in place of the recipe's. */
  readonly data?: Data;
  /** Computes activations again in place of keeping them. Default false. */
  readonly rematerialise?: boolean;
}

/** What only stage 1 can be told. */
export interface AlignOptions extends StageOptions {
  /**
   * Walks the teacher layer by layer from disk, with one layer's weights, gradients and moments in
   * memory at a time. The same batches, rates and steps of AdamW for every layer, and the same bits
   * but for two things: each of n layers is clipped by itself, to `clip`/√n, so that the norm of all
   * stays within `clip`; and no gradient reaches layer 0 through the values that it passes on to
   * later layers of RAD-RWKV7. Default: all layers at once.
   */
  readonly streamed?: true;
}

/** `pretrain` has no paper to take its size from. */
export type PretrainOptions =
  & StageOptions
  & Required<Pick<StageOptions, "tokens" | "context" | "batch" | "lr">>;

/** Defaults that all stages share. */
const COMMON = Object.freeze({
  warmup: 50,
  accumulate: 1,
  clip: 1,
  weightDecay: 0,
  betas: Object.freeze([0.9, 0.95] as const),
  epsilon: 1e-8,
  rematerialise: false,
});

/**
 * Defaults of each stage: the paper's Table 2, with the fewest tokens of its range for stage 2, and
 * for stage 3 the smallest context and batch of its training code (the table has 16,384 and 96).
 */
const DEFAULTS = Object.freeze({
  align: {
    tokens: tokens("100M"),
    context: 512,
    batch: 32,
    lr: cosine(1e-3, 1e-5),
    trains: "mixers",
  },
  distill: {
    tokens: tokens("250M"),
    context: 512,
    batch: 96,
    lr: constant(1e-5),
    trains: "everything",
  },
  finetune: {
    tokens: tokens("100M"),
    context: 4096,
    batch: 16,
    lr: constant(1e-5),
    trains: "everything",
  },
  pretrain: { trains: "everything" },
}) satisfies Readonly<Record<StageKind, StageOptions>>;

function stage<K extends StageKind>(kind: K, options: StageOptions): StageOf<K> {
  const data = options.data && { data: sourcesOf(options.data) };
  const written = { name: kind, ...COMMON, ...DEFAULTS[kind], ...options, ...data, kind };
  return Object.freeze(written as StageOf<K>);
}

/**
 * Stage 1: every converted layer learns to answer what the teacher's attention answers,
 * ‖o_teacher − o_student‖₂·C^(−½), on the teacher's residual stream: all layers at once or, with
 * `streamed`, one after another from disk.
 */
export const align = (options: AlignOptions = {}): Stage<"align"> => stage("align", options);

/** Stage 2: KL(teacher ‖ student) of the next token, temperature 1. */
export const distill = (options: StageOptions = {}): Stage<"distill"> => {
  return stage("distill", options);
};

/** Stage 3: cross-entropy on the text, without a teacher. */
export const finetune = (options: StageOptions = {}): Stage<"finetune"> => {
  return stage("finetune", options);
};

/** Cross-entropy from random initial weights: makes a teacher (with `newModel`). */
export const pretrain = (options: PretrainOptions): Stage<"pretrain"> => {
  return stage("pretrain", options);
};

/** Optimizer steps of a stage. */
export function stepsOf(stage: Pick<Stage, "tokens" | "context" | "batch">): number {
  return Math.floor(stage.tokens / (stage.batch * stage.context));
}

/** Contexts are multiples of this: the chunk of the WKV kernels. */
const CONTEXT_MULTIPLE = 16;
const CONTEXT_LIMIT = 2 ** 20;
const BATCH_LIMIT = 2 ** 16;

const readContext: Reader<number> = (value, at) => {
  const multiple = `a multiple of ${CONTEXT_MULTIPLE}`;
  if (!Number.isSafeInteger(value)) return refuse(at, multiple, value);
  const context = value as number;
  if (context < 1 || context % CONTEXT_MULTIPLE !== 0) return refuse(at, multiple, value);
  return context <= CONTEXT_LIMIT ? context : refuse(at, `at most ${CONTEXT_LIMIT}`, value);
};

const readBeta = number("a number from 0 to below 1", (beta) => beta >= 0 && beta < 1);
const readBetas: Reader<readonly [number, number]> = (value, at) => {
  if (!Array.isArray(value) || value.length !== 2) return refuse(at, "[β₁, β₂]", value);
  return Object.freeze([
    readBeta(value[0], inside(at, 0)),
    readBeta(value[1], inside(at, 1)),
  ]);
};

const readName: Reader<string> = (value, at) => {
  const what = "up to 64 letters, digits, spaces, -, _ or .";
  const fits = typeof value === "string" && /^[\p{L}\p{N}][\p{L}\p{N} ._-]{0,63}$/u.test(value);
  return fits ? value : refuse(at, what, value);
};

const readStreamed: Reader<true> = (value, at) =>
  value === true || refuse(at, "true, or no such key", value);

const positive = number("a number above 0", (value) => value > 0);
const notNegative = number("a number from 0", (value) => value >= 0);

/** A key with a default where the stage has one. */
function orDefault<T>(read: Reader<T>, use: T | undefined) {
  return use === undefined ? required(read) : defaulted(read, use);
}

function reader<K extends StageKind>(kind: K): Reader<StageOf<K>> {
  const defaults: StageOptions = DEFAULTS[kind];
  const fields: Fields<StageOf<K>> = {
    kind: required(oneOf(kind)),
    name: defaulted(readName, kind as string),
    tokens: orDefault(integer(1), defaults.tokens),
    context: orDefault(readContext, defaults.context),
    batch: orDefault(integer(1, BATCH_LIMIT), defaults.batch),
    lr: orDefault(readSchedule, defaults.lr),
    mixerLr: optional(readSchedule),
    warmup: defaulted(integer(0), COMMON.warmup),
    accumulate: defaulted(integer(1), COMMON.accumulate),
    clip: defaulted(notNegative, COMMON.clip),
    weightDecay: defaulted(notNegative, COMMON.weightDecay),
    betas: defaulted(readBetas, COMMON.betas),
    epsilon: defaulted(positive, COMMON.epsilon),
    trains: orDefault(readTrains, defaults.trains),
    data: optional(readData),
    rematerialise: defaulted(boolean, COMMON.rematerialise),
    streamed: optional(readStreamed),
  };
  return checked(object<StageOf<K>>(`${kind}({ … })`, fields), checkWhole);
}

/** What only the options together show. */
function checkWhole(stage: StageOf<StageKind>, at: At): void {
  const { kind, batch, context, accumulate, mixerLr, trains, streamed } = stage;
  if (sound(at, "batch", "accumulate") && batch % accumulate !== 0) {
    refuseAs(inside(at, "accumulate"), `a divisor of the batch of ${batch}`, `${accumulate}`);
  }
  if (sound(at, "tokens", "batch", "context") && stepsOf(stage) < 1) {
    const expected = `at least one step of ${batch} × ${context} = ${batch * context} tokens`;
    refuseAs(inside(at, "tokens"), expected, `${stage.tokens}`);
  }
  if (kind !== "align" && streamed && sound(at, "streamed")) {
    const only = "nothing, because only in stage 1 are layers independent of one another";
    refuseAs(inside(at, "streamed"), only, "true");
  }
  if (mixerLr !== undefined && sound(at, "mixerLr", "trains")) {
    const alone = kind === "pretrain"
      ? "no layer is converted"
      : kind === "align" || trains === "mixers"
      ? "mixers are all that is trained"
      : undefined;
    if (alone !== undefined) {
      const found = scheduleText(mixerLr);
      refuseAs(inside(at, "mixerLr"), `nothing where ${alone}`, found, "lr is the rate of all");
    }
  }
}

export const readStage: Reader<Stage> = tagged<Stage>(
  "a stage: align, distill, finetune or pretrain",
  {
    align: reader("align"),
    distill: reader("distill"),
    finetune: reader("finetune"),
    pretrain: reader("pretrain"),
  },
);
