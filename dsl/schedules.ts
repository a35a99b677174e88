/**
 * Learning-rate schedules, as data, and the one formula that gives the rate of a step.
 * RADLADS (arXiv 2505.03005, Table 2) trains stage 1 by a quarter cosine, stages 2 and 3 at a flat
 * rate, and the mixers of stage 2a by one that falls within a short part of the stage.
 */
import {
  type At,
  checked,
  inside,
  number,
  object,
  oneOf,
  type Reader,
  refuseAs,
  required,
  sound,
  tagged,
} from "./schema.ts";

/** The same rate at every step. */
export interface Constant {
  readonly kind: "constant";
  readonly lr: number;
}

/** A quarter cosine from `init` to `final`: slow at first, steepest at the end. */
export interface Cosine {
  readonly kind: "cosine";
  readonly init: number;
  readonly final: number;
}

/** A straight line from `init` to `final`. */
export interface Linear {
  readonly kind: "linear";
  readonly init: number;
  readonly final: number;
}

/** `init` up to a share of the stage, a quarter cosine to `final`, `final` from another share on. */
export interface CosineBetween {
  readonly kind: "cosineBetween";
  readonly init: number;
  readonly final: number;
  /** Shares of the steps after warm-up, 0 ≤ from < to ≤ 1. */
  readonly from: number;
  readonly to: number;
}

/** A learning rate by step, as data; `learningRate` has the formulas. */
export type Schedule = Constant | Cosine | Linear | CosineBetween;

/** The same learning rate at every step after warm-up. */
export const constant = (lr: number): Constant => Object.freeze({ kind: "constant", lr });

/** The paper's quarter cosine: final + (init − final)·cos(π/2·p), p from 0 to 1 after warm-up. */
export const cosine = (init: number, final: number): Cosine => {
  return Object.freeze({ kind: "cosine", init, final });
};

/** init + (final − init)·p, p from 0 to 1 after warm-up. */
export const linear = (init: number, final: number): Linear => {
  return Object.freeze({ kind: "linear", init, final });
};

/**
 * The paper's "s-cos-s" (Table 2): stable at `init`, a cosine while p is between the shares `from`
 * and `to`, stable at `final`. As in its training code (`lr_wait`, `lr_endpoint`), the cosine is the
 * quarter cosine, final + (init − final)·cos(π/2·(p − from)/(to − from)), and p counts from the end
 * of warm-up.
 */
export const cosineBetween = (
  init: number,
  final: number,
  from: number,
  to: number,
): CosineBetween => Object.freeze({ kind: "cosineBetween", init, final, from, to });

const rate = number("a learning rate above 0 and at most 1", (lr) => lr > 0 && lr <= 1);
const share = number("a share of the stage from 0 to 1", (part) => part >= 0 && part <= 1);
const lastRate = number("a learning rate from 0 to 1", (lr) => lr >= 0 && lr <= 1);

export const readSchedule: Reader<Schedule> = tagged<Schedule>(
  "a schedule: constant(lr), cosine(init, final), linear(init, final) or " +
    "cosineBetween(init, final, from, to)",
  {
    constant: object<Constant>("constant(lr)", {
      kind: required(oneOf("constant")),
      lr: required(rate),
    }),
    cosine: object<Cosine>("cosine(init, final)", {
      kind: required(oneOf("cosine")),
      init: required(rate),
      final: required(lastRate),
    }),
    linear: object<Linear>("linear(init, final)", {
      kind: required(oneOf("linear")),
      init: required(rate),
      final: required(lastRate),
    }),
    cosineBetween: checked(
      object<CosineBetween>("cosineBetween(init, final, from, to)", {
        kind: required(oneOf("cosineBetween")),
        init: required(rate),
        final: required(lastRate),
        from: required(share),
        to: required(share),
      }),
      checkShares,
    ),
  },
);

function checkShares({ from, to }: CosineBetween, at: At): void {
  if (sound(at, "from", "to") && to <= from) {
    refuseAs(inside(at, "to"), `a share of the stage above ${from}`, `${to}`);
  }
}

/** Whether a value that was read is a schedule. */
export const isSchedule = (value: { readonly kind?: unknown }): value is Schedule =>
  KINDS.some((kind) => kind === value.kind);

const KINDS = Object.keys(
  { constant: 0, cosine: 0, linear: 0, cosineBetween: 0 } satisfies Record<Schedule["kind"], 0>,
);

/** A schedule in a few words: `cosine 1e-3..1e-5`. */
export function scheduleText(schedule: Schedule): string {
  const { kind } = schedule;
  if (kind === "constant") return `${kind} ${numberText(schedule.lr)}`;
  const rates = `${kind} ${numberText(schedule.init)}..${numberText(schedule.final)}`;
  return kind === "cosineBetween" ? `${rates} from ${schedule.from} to ${schedule.to}` : rates;
}

/** 3e-4, 0.02, 1000000. */
export function numberText(value: number): string {
  return value !== 0 && Math.abs(value) < 0.01 ? value.toExponential() : String(value);
}

/**
 * The learning rate of one optimizer step.
 *
 * Steps count from 0. While step < warmup the rate is the schedule's first rate times
 * 0.01 + 0.99·step/warmup; after that p = (step − warmup) / (totalSteps − warmup) runs over the
 * remaining steps, as in the published training code. Throws RangeError for a step that is no
 * whole number from 0.
 */
export function learningRate(
  schedule: Schedule,
  step: number,
  totalSteps: number,
  warmup: number,
): number {
  if (!Number.isInteger(step) || step < 0) {
    throw new RangeError(`learningRate: expected a step from 0, found ${step}`);
  }
  if (step < warmup) return firstRate(schedule) * (0.01 + 0.99 * step / warmup);
  const progress = totalSteps > warmup ? Math.min(1, (step - warmup) / (totalSteps - warmup)) : 0;
  switch (schedule.kind) {
    case "constant":
      return schedule.lr;
    case "cosine":
      return quarterCosine(schedule, progress);
    case "linear":
      return schedule.init + (schedule.final - schedule.init) * progress;
    case "cosineBetween": {
      const { from, to } = schedule;
      const done = (progress - from) / (to - from);
      if (done >= 1) return schedule.final;
      return quarterCosine(schedule, Math.max(0, done));
    }
    default:
      return schedule satisfies never;
  }
}

const quarterCosine = ({ init, final }: Cosine | CosineBetween, progress: number) =>
  final + (init - final) * Math.cos(Math.PI / 2 * progress);

/** The rate that warm-up climbs to. */
function firstRate(schedule: Schedule): number {
  return schedule.kind === "constant" ? schedule.lr : schedule.init;
}
