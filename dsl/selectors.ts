/** Which layers a rule speaks of. A selector is data; `.to(mixer)` makes it a rule of surgery. */
import type { Mixer } from "./mixers.ts";
import {
  defaulted,
  integer,
  list,
  number,
  object,
  oneOf,
  type Reader,
  refuseAs,
  required,
  tagged,
} from "./schema.ts";
import { tableHas, tableProblem, tabulate, WHERE_LAYERS } from "./where.ts";

/** Every layer. */
export interface All {
  readonly kind: "all";
}

/** These layers. A negative index counts from the end: −1 is the last layer. */
export interface Only {
  readonly kind: "only";
  readonly indices: readonly number[];
}

/** All layers but these. */
export interface Except {
  readonly kind: "except";
  readonly indices: readonly number[];
}

/** The first `count` layers. */
export interface First {
  readonly kind: "first";
  readonly count: number;
}

/** The last `count` layers. */
export interface Last {
  readonly kind: "last";
  readonly count: number;
}

/** Layers offset, offset + step, offset + 2·step, … */
export interface Every {
  readonly kind: "every";
  readonly step: number;
  readonly offset: number;
}

/** A predicate of layer index and layer count, tabulated (see where.ts). */
export interface Where {
  readonly kind: "where";
  readonly table: string;
}

/** Which layers, as data. */
export type Selector = All | Only | Except | First | Last | Every | Where;

/** A rule of surgery: these layers get this mixer, `layers.last(2).to(keepAttention())`. */
export interface Rule {
  /** The layers. */
  readonly layers: Selector;
  /** What they get. */
  readonly mixer: Mixer;
}

/** A selector with the method that makes a rule of it. The method is no part of the data. */
export type Selection<S extends Selector = Selector> = S & {
  /** The rule that gives these layers a mixer. */
  to(mixer: Mixer): Rule;
};

function selection<S extends Selector>(layers: S): Selection<S> {
  Object.freeze(layers);
  const to = (mixer: Mixer): Rule => Object.freeze({ layers, mixer });
  // Not enumerable: spread, JSON and validation see the data alone.
  return Object.freeze(Object.defineProperty({ ...layers }, "to", { value: to })) as Selection<S>;
}

/** Every layer. */
const all: Selection<All> = selection({ kind: "all" });

/** These layers; negative indices count from the end. */
export const only = (...indices: readonly number[]): Selection<Only> => {
  return selection({ kind: "only", indices: Object.freeze([...indices]) });
};

/** All layers but these; negative indices count from the end. */
export const except = (...indices: readonly number[]): Selection<Except> => {
  return selection({ kind: "except", indices: Object.freeze([...indices]) });
};

/** The first `count` layers. */
export const first = (count: number): Selection<First> => selection({ kind: "first", count });

/** The last `count` layers: where the reference keeps attention in its hybrids. */
export const last = (count: number): Selection<Last> => selection({ kind: "last", count });

/** Layers `offset`, `offset + step`, …: `every(4)` is 0, 4, 8, …, `every(4, 3)` is 3, 7, 11, …. */
export const every = (step: number, offset = 0): Selection<Every> => {
  return selection({ kind: "every", step, offset });
};

/**
 * The layers for which a predicate of index (from 0) and layer count holds. The predicate is called
 * here, once for every layer of every count up to 128, and its answers become the data.
 */
export const where = (
  predicate: (index: number, count: number) => boolean,
): Selection<Where> => selection({ kind: "where", ...tabulate(predicate) });

/** The selectors under one name. */
export const layers = Object.freeze({ all, only, except, first, last, every, where });

const WHAT = "layers.all, only(…), except(…), first(n), last(n), every(n) or where(…)";
const index = number("a layer's index: a whole number, from the end where negative", (value) => {
  return Number.isSafeInteger(value);
});
const indices = list(index, "at least one layer's index", 1);
const count = integer(1, undefined, "a whole number of layers from 1");

const readTable: Reader<string> = (value, at) => {
  const problem = tableProblem(value);
  return problem === undefined ? value as string : refuseAs(at, "a table of answers", problem);
};
const readWhereTable = object<Where>("where(predicate)", {
  kind: required(oneOf("where")),
  table: required(readTable),
});
const readWhere: Reader<Where> = (value, at) => {
  const failed = (value as { failed?: unknown }).failed;
  return typeof failed === "string"
    ? refuseAs(at, "a predicate that answers true or false", failed.slice(0, 300))
    : readWhereTable(value, at);
};

export const readSelector: Reader<Selector> = tagged<Selector>(WHAT, {
  all: object<All>("layers.all", { kind: required(oneOf("all")) }),
  only: object<Only>("only(…)", { kind: required(oneOf("only")), indices: required(indices) }),
  except: object<Except>("except(…)", {
    kind: required(oneOf("except")),
    indices: required(indices),
  }),
  first: object<First>("first(n)", { kind: required(oneOf("first")), count: required(count) }),
  last: object<Last>("last(n)", { kind: required(oneOf("last")), count: required(count) }),
  every: object<Every>("every(n, offset)", {
    kind: required(oneOf("every")),
    step: required(count),
    offset: defaulted(integer(0), 0),
  }),
  where: readWhere,
});

/** A selector that cannot be applied to a model of this many layers. */
export interface Misfit {
  readonly expected: string;
  readonly found: string;
}

/**
 * The layers that a selector chooses in a model of `count` layers, as one boolean a layer, or why it
 * chooses none: an index out of range, more layers than there are, nothing selected.
 */
export function selected(selector: Selector, count: number): readonly boolean[] | Misfit {
  const misfit = outOfRange(selector, count);
  if (misfit !== undefined) return misfit;
  const chosen = Array.from({ length: count }, (_, index) => chooses(selector, index, count));
  if (chosen.some(Boolean)) return chosen;
  return { expected: `at least one of the model's ${count} layers`, found: "none selected" };
}

function outOfRange(selector: Selector, count: number): Misfit | undefined {
  switch (selector.kind) {
    case "only":
    case "except": {
      const wrong = selector.indices.filter((index) => index < -count || index >= count);
      if (wrong.length === 0) return undefined;
      const expected = `layers from 0 to ${count - 1}, or -${count} to -1 from the end`;
      return { expected, found: wrong.join(", ") };
    }
    case "first":
    case "last":
      if (selector.count <= count) return undefined;
      return { expected: `at most the model's ${count} layers`, found: `${selector.count}` };
    case "where":
      if (count <= WHERE_LAYERS) return undefined;
      return {
        expected: `a model of at most ${WHERE_LAYERS} layers, up to which where(…) is tabulated`,
        found: `${count} layers`,
      };
    case "all":
    case "every":
      return undefined;
    default:
      return selector satisfies never;
  }
}

function chooses(selector: Selector, index: number, count: number): boolean {
  switch (selector.kind) {
    case "all":
      return true;
    case "only":
      return selector.indices.includes(index) || selector.indices.includes(index - count);
    case "except":
      return !selector.indices.includes(index) && !selector.indices.includes(index - count);
    case "first":
      return index < selector.count;
    case "last":
      return index >= count - selector.count;
    case "every":
      return index >= selector.offset && (index - selector.offset) % selector.step === 0;
    case "where":
      return tableHas(selector.table, index, count);
    default:
      return selector satisfies never;
  }
}
