/**
 * Mixers: what takes the place of a layer's softmax attention. RAD-RWKV7 as in RADLADS
 * (arXiv 2505.03005, section on architecture); the defaults are the published configuration.
 */
import {
  boolean,
  defaulted,
  type Fields,
  integer,
  list,
  object,
  oneOf,
  type Reader,
  required,
  tagged,
} from "./schema.ts";

/** A projection that is copied from the teacher (q → receptance, k, v, o) or initialised anew. */
export type Projection = "receptance" | "key" | "value" | "output";

const PROJECTIONS = ["receptance", "key", "value", "output"] as const;

/** Rank of a low-rank part; `auto`: max(1, round(Cᵉ·m/32))·32 with the paper's e and m. */
export type Rank = number | "auto";

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

/** The teacher's own attention, unchanged. */
export interface KeepAttention {
  readonly kind: "attention";
}

export type Mixer = RadRwkv7 | KeepAttention;

/** Mixers that convert a layer: all but attention. */
export type ConvertingMixer = Exclude<Mixer, KeepAttention>;

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
export type MixerFlags = RadRwkv7Flags;

/** RAD-RWKV7, by default as published: RoPE, GroupNorm, unbalanced state, low-rank gate. */
export const radRwkv7 = (flags: RadRwkv7Flags = {}): RadRwkv7 => withMixerFlags(PUBLISHED, flags);

/** The layer keeps the teacher's attention; later rules win, so this makes hybrids. */
export const keepAttention = (): KeepAttention => Object.freeze({ kind: "attention" });

/** The mixer with other flags; what it does not know is found by validation. */
export function withMixerFlags<M extends ConvertingMixer>(mixer: M, flags: MixerFlags): M {
  const given = Object.entries(flags).filter(([, value]) => value !== undefined);
  const { ranks, reinitialise, ...rest } = Object.fromEntries(given) as MixerFlags;
  return Object.freeze({
    ...mixer,
    ...rest,
    ranks: ranks === undefined ? mixer.ranks : plainRanks(ranks),
    reinitialise: reinitialise === undefined ? mixer.reinitialise : projections(reinitialise),
    kind: mixer.kind,
  });
}

const AUTO: Rwkv7Ranks = Object.freeze({
  decay: "auto",
  iclr: "auto",
  valueResidual: "auto",
  gate: "auto",
});

/** RAD-RWKV7 as published. */
const PUBLISHED: RadRwkv7 = Object.freeze({
  kind: "radRwkv7",
  rope: true,
  balanceState: false,
  groupNorm: true,
  gate: 2,
  ranks: AUTO,
  reinitialise: Object.freeze([]),
});

/** Ranks written out; anything but an object is left for validation to find. */
function plainRanks(ranks: "auto" | Partial<Rwkv7Ranks>): Rwkv7Ranks {
  if (ranks === "auto") return AUTO;
  if (typeof ranks !== "object" || ranks === null || Array.isArray(ranks)) return ranks as never;
  return Object.freeze({ ...AUTO, ...ranks });
}

/** Projections in their own order, each once, so that equal mixers are equal data. */
function projections(choice: boolean | readonly Projection[]): readonly Projection[] {
  if (typeof choice === "boolean") return choice ? PROJECTIONS : PUBLISHED.reinitialise;
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
const rankFields: Fields<Rwkv7Ranks> = {
  decay: rank,
  iclr: rank,
  valueResidual: rank,
  gate: rank,
};
const readRankObject = object<Rwkv7Ranks>(
  '"auto" or { decay, iclr, valueResidual, gate }',
  rankFields,
);
const readRanks: Reader<Rwkv7Ranks> = (value, at) => {
  return value === "auto" ? AUTO : readRankObject(value, at);
};

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

export const readMixer: Reader<Mixer> = tagged<Mixer>(
  "a mixer: radRwkv7(flags) or keepAttention()",
  {
    radRwkv7: object<RadRwkv7>("radRwkv7(flags)", {
      kind: required(oneOf("radRwkv7")),
      rope: defaulted(boolean, PUBLISHED.rope),
      balanceState: defaulted(boolean, PUBLISHED.balanceState),
      groupNorm: defaulted(boolean, PUBLISHED.groupNorm),
      gate: defaulted<0 | 1 | 2>(oneOf(0, 1, 2), PUBLISHED.gate),
      ranks: defaulted(readRanks, AUTO),
      reinitialise: defaulted(readProjections, PUBLISHED.reinitialise),
    }),
    attention: object<KeepAttention>("keepAttention()", {
      kind: required(oneOf("attention")),
    }),
  },
);
