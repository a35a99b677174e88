/**
 * Mixers: what takes the place of a layer's softmax attention. RAD-RWKV6 and RAD-RWKV7 as in
 * RADLADS (arXiv 2505.03005, section on architecture); the defaults are the published
 * configurations.
 */
import {
  boolean,
  defaulted,
  type Field,
  type Fields,
  integer,
  list,
  object,
  oneOf,
  optional,
  type Reader,
  required,
  tagged,
} from "./schema.ts";

/** A projection that is copied from the teacher (q → receptance, k, v, o) or initialised anew. */
export type Projection = typeof PROJECTIONS[number];

const PROJECTIONS = Object.freeze(["receptance", "key", "value", "output"] as const);

/** Rank of a low-rank part; `auto`: max(1, round(Cᵉ·m/32))·32 with the paper's e and m. */
export type Rank = number | "auto";

/** Ranks of RAD-RWKV6's low-rank parts. */
export interface Rwkv6Ranks {
  /** Used where there is a token shift only. */
  readonly tokenShift: Rank;
  readonly decay: Rank;
  /** Used by gate 2 only. */
  readonly gate: Rank;
}

/** RAD-RWKV6 with every flag of its config.json; none is inferred from another. */
export interface RadRwkv6 {
  readonly kind: "radRwkv6";
  /** Rotary embedding on receptance and key: `use_rope`. */
  readonly rope: boolean;
  /** Every token is mixed with the one before it: `use_tokenshift`. */
  readonly tokenShift: boolean;
  /** `balance_state`: k̃ = k·(1 − w). */
  readonly balanceState: boolean;
  /** GroupNorm per head on the output: `groupnorm_att`. */
  readonly groupNorm: boolean;
  /** `gate_rank_type`: 0 no gate, 1 full rank, 2 low rank. */
  readonly gate: 0 | 1 | 2;
  readonly ranks: Rwkv6Ranks;
  /** Projections that do not start from the teacher's. */
  readonly reinitialise: readonly Projection[];
}

/** Ranks of RAD-RWKV7's low-rank parts. */
export interface Rwkv7Ranks {
  readonly decay: Rank;
  /** In-context learning rate, "a". */
  readonly iclr: Rank;
  readonly valueResidual: Rank;
  /** Used by gate 2 only. */
  readonly gate: Rank;
}

/** RAD-RWKV7 with every flag of its config.json; none is inferred from another. */
export interface RadRwkv7 {
  readonly kind: "radRwkv7";
  /** Rotary embedding on receptance and key: `use_rope`. */
  readonly rope: boolean;
  /** `balance_state`: k̃ = k·(1 − w + a) in place of k_k and k_a. */
  readonly balanceState: boolean;
  /** GroupNorm per head on the output: `groupnorm_att`. */
  readonly groupNorm: boolean;
  /** `gate_rank_type`: 0 no gate, 1 full rank, 2 low rank. */
  readonly gate: 0 | 1 | 2;
  readonly ranks: Rwkv7Ranks;
  /** Projections that do not start from the teacher's. */
  readonly reinitialise: readonly Projection[];
}

/** The layers with the largest stage-1 error: which ones that are is measured during the run. */
export interface Worst {
  readonly kind: "worst";
  readonly count: number;
}

/** The teacher's own attention, unchanged. */
export interface KeepAttention {
  readonly kind: "attention";
  /** In some of the rule's layers only; all are converted until it is known in which. */
  readonly where?: Worst;
}

/** What mixes the tokens of a layer. */
export type Mixer = RadRwkv6 | RadRwkv7 | KeepAttention;

/** Mixers that convert a layer: all but attention. */
export type ConvertingMixer = Exclude<Mixer, KeepAttention>;

/** What an author may say about RAD-RWKV6; every flag has the published default. */
export interface RadRwkv6Flags {
  /** Rotary embedding on receptance and key (`use_rope`). Default false. */
  readonly rope?: boolean;
  /** Token shift (`use_tokenshift`). Default true. */
  readonly tokenShift?: boolean;
  /** Balanced state (`balance_state`). Default true. */
  readonly balanceState?: boolean;
  /** GroupNorm per head (`groupnorm_att`). Default false. */
  readonly groupNorm?: boolean;
  /** Gate (`gate_rank_type`): 0 none, 1 full rank, 2 low rank. Default 1. */
  readonly gate?: 0 | 1 | 2;
  /** Ranks of the low-rank parts; those left out are automatic. Default "auto". */
  readonly ranks?: "auto" | Partial<Rwkv6Ranks>;
  /** Projections that are initialised anew, an ablation; `true` for all four. Default none. */
  readonly reinitialise?: boolean | readonly Projection[];
}

/** What an author may say about RAD-RWKV7; every flag has the published default. */
export interface RadRwkv7Flags {
  /** Rotary embedding on receptance and key (`use_rope`). Default true. */
  readonly rope?: boolean;
  /** Balanced state (`balance_state`). Default false. */
  readonly balanceState?: boolean;
  /** GroupNorm per head (`groupnorm_att`). Default true. */
  readonly groupNorm?: boolean;
  /** Gate (`gate_rank_type`): 0 none, 1 full rank, 2 low rank. Default 2. */
  readonly gate?: 0 | 1 | 2;
  /** Ranks of the low-rank parts; those left out are automatic. Default "auto". */
  readonly ranks?: "auto" | Partial<Rwkv7Ranks>;
  /** Projections that are initialised anew, an ablation; `true` for all four. Default none. */
  readonly reinitialise?: boolean | readonly Projection[];
}

/** The flags that converting mixers have: what `withFlags` takes. */
export type MixerFlags = RadRwkv6Flags | RadRwkv7Flags;

/**
 * RAD-RWKV6, by default as published: token shift, balanced state, full-rank gate, no RoPE, no
 * GroupNorm.
 */
export const radRwkv6 = (flags: RadRwkv6Flags = {}): RadRwkv6 => withMixerFlags(PUBLISHED6, flags);

/** RAD-RWKV7, by default as published: RoPE, GroupNorm, unbalanced state, low-rank gate. */
export const radRwkv7 = (flags: RadRwkv7Flags = {}): RadRwkv7 => withMixerFlags(PUBLISHED7, flags);

/**
 * The layer keeps the teacher's attention; later rules win, so this makes hybrids. With
 * `where: worst(n)`, the rule's layers are converted and aligned like the others; at the end of
 * stage 1 the n of them with the largest error go back to the teacher's attention.
 */
export const keepAttention = ({ where }: { readonly where?: Worst } = {}): KeepAttention => {
  return Object.freeze(where === undefined ? { kind: "attention" } : { kind: "attention", where });
};

/** The `count` layers whose stage-1 error stays largest, for `keepAttention`. */
export const worst = (count: number): Worst => Object.freeze({ kind: "worst", count });

/** The mixer with other flags; what it does not know is found by validation. */
export function withMixerFlags<M extends ConvertingMixer>(mixer: M, flags: MixerFlags): M {
  const given = Object.entries(flags).filter(([, value]) => value !== undefined);
  const { ranks, reinitialise, ...rest } = Object.fromEntries(given) as MixerFlags;
  const changed = {
    ...mixer,
    ...rest,
    ranks: ranks === undefined ? mixer.ranks : plainRanks<object>(ranks, AUTO[mixer.kind]),
    reinitialise: reinitialise === undefined ? mixer.reinitialise : projections(reinitialise),
    kind: mixer.kind,
  };
  return Object.freeze(changed as unknown as M);
}

type RanksOf<K extends ConvertingMixer["kind"]> = Extract<ConvertingMixer, { kind: K }>["ranks"];

/** Automatic ranks of every mixer. */
const AUTO: { readonly [K in ConvertingMixer["kind"]]: RanksOf<K> } = Object.freeze({
  radRwkv6: Object.freeze({ tokenShift: "auto", decay: "auto", gate: "auto" }),
  radRwkv7: Object.freeze({ decay: "auto", iclr: "auto", valueResidual: "auto", gate: "auto" }),
});

const NO_PROJECTIONS: readonly Projection[] = Object.freeze([]);

/** RAD-RWKV6 as published. */
const PUBLISHED6: RadRwkv6 = Object.freeze({
  kind: "radRwkv6",
  rope: false,
  tokenShift: true,
  balanceState: true,
  groupNorm: false,
  gate: 1,
  ranks: AUTO.radRwkv6,
  reinitialise: NO_PROJECTIONS,
});

/** RAD-RWKV7 as published. */
const PUBLISHED7: RadRwkv7 = Object.freeze({
  kind: "radRwkv7",
  rope: true,
  balanceState: false,
  groupNorm: true,
  gate: 2,
  ranks: AUTO.radRwkv7,
  reinitialise: NO_PROJECTIONS,
});

/** Ranks written out; anything but an object is left for validation to find. */
function plainRanks<R extends object>(ranks: "auto" | Partial<R>, auto: R): R {
  if (ranks === "auto") return auto;
  if (typeof ranks !== "object" || ranks === null || Array.isArray(ranks)) return ranks as never;
  return Object.freeze({ ...auto, ...ranks });
}

/** Projections in their own order, each once, so that equal mixers are equal data. */
function projections(choice: boolean | readonly Projection[]): readonly Projection[] {
  if (typeof choice === "boolean") return choice ? PROJECTIONS : NO_PROJECTIONS;
  if (!Array.isArray(choice) || choice.some((item) => !PROJECTIONS.includes(item))) {
    return choice as never;
  }
  return Object.freeze(PROJECTIONS.filter((projection) => choice.includes(projection)));
}

/** Most that a low-rank part can have: wider than any known model. */
const RANK_LIMIT = 65_536;

const readRank: Reader<Rank> = (value, at) => {
  if (value === "auto") return value;
  return integer(1, RANK_LIMIT, `"auto" or a whole number from 1 to ${RANK_LIMIT}`)(value, at);
};

const rank = defaulted(readRank, "auto");

/** `"auto"`, or an object with some of a mixer's ranks. */
function readRanks<R extends object>(auto: R, fields: Fields<R>): Field<R> {
  const readObject = object<R>(`"auto" or { ${Object.keys(fields).join(", ")} }`, fields);
  return defaulted<R>((value, at) => value === "auto" ? auto : readObject(value, at), auto);
}

const readProjectionList = list<Projection>(
  oneOf(...PROJECTIONS),
  "true, false or a list of receptance, key, value, output",
);
const readProjections: Reader<readonly Projection[]> = (value, at) => {
  if (typeof value === "boolean") return projections(value);
  const before = at.problems.length;
  const read = readProjectionList(value, at);
  return at.problems.length === before ? projections(read) : read;
};

const reinitialise = defaulted(readProjections, NO_PROJECTIONS);

/** The flags that both mixers have, with the defaults of one. */
const sharedFlags = (published: RadRwkv6 | RadRwkv7) => ({
  rope: defaulted(boolean, published.rope),
  balanceState: defaulted(boolean, published.balanceState),
  groupNorm: defaulted(boolean, published.groupNorm),
  gate: defaulted<0 | 1 | 2>(oneOf(0, 1, 2), published.gate),
});

const readWorst = object<Worst>("worst(n)", {
  kind: required(oneOf("worst")),
  count: required(integer(1, undefined, "a whole number of layers from 1")),
});

export const readMixer: Reader<Mixer> = tagged<Mixer>(
  "a mixer: radRwkv6(flags), radRwkv7(flags) or keepAttention()",
  {
    radRwkv6: object<RadRwkv6>("radRwkv6(flags)", {
      kind: required(oneOf("radRwkv6")),
      ...sharedFlags(PUBLISHED6),
      tokenShift: defaulted(boolean, PUBLISHED6.tokenShift),
      ranks: readRanks<Rwkv6Ranks>(AUTO.radRwkv6, { tokenShift: rank, decay: rank, gate: rank }),
      reinitialise,
    }),
    radRwkv7: object<RadRwkv7>("radRwkv7(flags)", {
      kind: required(oneOf("radRwkv7")),
      ...sharedFlags(PUBLISHED7),
      ranks: readRanks<Rwkv7Ranks>(AUTO.radRwkv7, {
        ...{ decay: rank, iclr: rank },
        ...{ valueResidual: rank, gate: rank },
      }),
      reinitialise,
    }),
    attention: object<KeepAttention>("keepAttention()", {
      kind: required(oneOf("attention")),
      where: optional(readWorst),
    }),
  },
);
