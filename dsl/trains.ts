/** What a stage trains: the converted layers, everything, or tensors by name. */
import { list, object, oneOf, type Reader, refuse, required, string } from "./schema.ts";

/** Tensors whose names match one of these globs. */
export interface Match {
  /** Told apart from `"mixers"` and `"everything"` by being an object of this kind. */
  readonly kind: "match";
  /** One that matches is enough. */
  readonly globs: readonly string[];
}

/**
 * `mixers`: every tensor of a converted layer's mixer, q/k/v/o included. `everything`: every tensor
 * of the student, embeddings and head included. Or the tensors that `match` names.
 */
export type Trains = "mixers" | "everything" | Match;

/**
 * Trains the tensors whose names match a glob: `*` stands for any run of characters (dots
 * included), `?` for one. `match("model.layers.0.*", "*.mlp.*")`.
 */
export const match = (...globs: readonly string[]): Match => {
  return Object.freeze({ kind: "match", globs: Object.freeze([...globs]) });
};

const WHAT = '"mixers", "everything" or match("glob over tensor names")';

const readWord = oneOf("mixers", "everything");
const readMatch = object<Match>(WHAT, {
  kind: required(oneOf("match")),
  globs: required(list(string("a glob over tensor names"), "at least one glob", 1)),
});

export const readTrains: Reader<Trains> = (value, at) => {
  if (typeof value === "object" && value !== null) return readMatch(value, at);
  return typeof value === "string" ? readWord(value, at) : refuse(at, WHAT, value);
};

/** Whether a tensor is trained; `inMixer` says that it belongs to a converted layer's mixer. */
export function isTrained(trains: Trains, tensor: string, inMixer: boolean): boolean {
  if (trains === "everything") return true;
  if (trains === "mixers") return inMixer;
  return trains.globs.some((glob) => matches(glob, tensor));
}

/**
 * Whether a name matches a glob. Greedy with one point of return, so that its time is bounded by
 * the product of the lengths whatever the glob: a regular expression would not promise that.
 */
export function matches(glob: string, name: string): boolean {
  let at = 0;
  let position = 0;
  let star = -1;
  let resume = 0;
  while (position < name.length) {
    if (glob[at] === "*") {
      star = at++;
      resume = position;
    } else if (at < glob.length && (glob[at] === "?" || glob[at] === name[position])) {
      at++;
      position++;
    } else if (star >= 0) {
      at = star + 1;
      position = ++resume;
    } else {
      return false;
    }
  }
  while (glob[at] === "*") at++;
  return at === glob.length;
}
