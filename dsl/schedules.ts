/**
 * Learning-rate schedules, as data, and the one formula that gives the rate of a step.
 * RADLADS (arXiv 2505.03005) trains stage 1 by a quarter cosine and stages 2 and 3 at a flat rate.
 */
import { number, object, oneOf, type Reader, required, tagged } from "./schema.ts";

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

export type Schedule = Constant | Cosine | Linear;

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

const rate = number("a learning rate above 0 and at most 1", (lr) => lr > 0 && lr <= 1);
const lastRate = number("a learning rate from 0 to 1", (lr) => lr >= 0 && lr <= 1);

export const readSchedule: Reader<Schedule> = tagged<Schedule>(
  "a schedule: constant(lr), cosine(init, final) or linear(init, final)",
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
  },
);

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
      return schedule.final +
        (schedule.init - schedule.final) * Math.cos(Math.PI / 2 * progress);
    case "linear":
      return schedule.init + (schedule.final - schedule.init) * progress;
    default:
      return schedule satisfies never;
  }
}

/** The rate that warm-up climbs to. */
function firstRate(schedule: Schedule): number {
  return schedule.kind === "constant" ? schedule.lr : schedule.init;
}
