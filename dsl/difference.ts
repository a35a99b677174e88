/** What two recipes say differently, value by value, in the words of their authors. */
import type { Mixer } from "./mixers.ts";
import type { Recipe } from "./recipe.ts";
import { isSchedule, numberText, scheduleText } from "./schedules.ts";
import { type Choice, resolveSurgery } from "./surgery.ts";

/** One thing that two recipes say differently. */
export interface Difference {
  /** Where: `stages[1].lr`, `layers[0-3].rope`; `stages[1 -> 0]` where it stands elsewhere. */
  readonly path: string;
  /** What the first says; `nothing` where it says nothing. */
  readonly from: string;
  readonly to: string;
}

const NOTHING = "nothing";

/**
 * Every difference from one recipe to another, in the order of their keys; none for equal ones.
 *
 * Rules of surgery are compared by what they make of each of `layerCount` layers, so that rules
 * which mean the same are the same. Without the count, or where the rules do not fit it, they are
 * compared one by one.
 */
export function differences(
  from: Recipe,
  to: Recipe,
  layerCount?: number,
): readonly Difference[] {
  return Object.keys({ ...from, ...to }).flatMap((key) => {
    const layers = key === "surgery" ? byLayer(from, to, layerCount) : undefined;
    const part = key as keyof Recipe;
    return layers ?? compare(key, from[part], to[part]);
  });
}

/** The differences in the mixers of layers, those that differ alike together, and in `worst(n)`. */
function byLayer(from: Recipe, to: Recipe, count?: number): readonly Difference[] | undefined {
  if (count === undefined) return undefined;
  const [before, after] = [from, to].map(({ surgery }) => resolveSurgery(surgery, count));
  if (!before.ok || !after.ok) return undefined;
  const alike = new Map<string, { layers: number[]; from: Mixer; to: Mixer }>();
  before.mixers.forEach((mixer, layer) => {
    const pair = { from: mixer, to: after.mixers[layer] };
    const key = JSON.stringify(pair);
    const group = alike.get(key) ?? { layers: [], ...pair };
    group.layers.push(layer);
    alike.set(key, group);
  });
  const mixers = [...alike.values()].flatMap(({ layers, from, to }) =>
    compare(`layers[${ranges(layers)}]`, from, to)
  );
  // Layers that are yet to be measured have converted mixers above.
  return [...mixers, ...compare("surgery.worst", worst(before.choice), worst(after.choice))];
}

/** What `worst(n)` chooses among, with layers as `0-3,7`. */
const worst = (choice?: Choice) => choice && { ...choice, layers: ranges(choice.layers) };

/** Ascending numbers as `0-3,7`. */
function ranges(numbers: readonly number[]): string {
  const starts = numbers.filter((n, i) => i === 0 || n !== numbers[i - 1] + 1);
  const ends = numbers.filter((n, i) => n + 1 !== numbers[i + 1]);
  return starts.map((start, i) => start === ends[i] ? `${start}` : `${start}-${ends[i]}`).join(",");
}

type Plain = { readonly [key: string]: unknown };

const isPlain = (value: unknown): value is Plain =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function compare(path: string, from: unknown, to: unknown): readonly Difference[] {
  if (JSON.stringify(from) === JSON.stringify(to)) return [];
  // A schedule is one thing to its reader: its numbers are never told apart.
  if (isPlain(from) && isPlain(to) && from.kind === to.kind && !isSchedule(from)) {
    return Object.keys({ ...from, ...to }).flatMap((key) =>
      compare(`${path}.${key}`, from[key], to[key])
    );
  }
  if (isListOfParts(from) && isListOfParts(to)) {
    return pairs(from, to).flatMap(([i, j]) => {
      const place = i === undefined ? j : j === undefined || i === j ? i : `${i} -> ${j}`;
      const part = (list: readonly Plain[], index?: number) =>
        index === undefined ? undefined : list[index];
      return compare(`${path}[${place}]`, part(from, i), part(to, j));
    });
  }
  return [{ path, from: words(from), to: words(to) }];
}

const isListOfParts = (value: unknown): value is readonly Plain[] =>
  Array.isArray(value) && value.every(isPlain);

/** What two parts of lists must share to be versions of one another. */
const sortOf = ({ kind, layers }: Plain) => JSON.stringify(kind ?? layers ?? null);

/**
 * Which part of one list became which of the other: the longest run of the same sorts in the same
 * order. What lies between was replaced one by one; what is left over was removed, or added.
 */
function pairs(
  from: readonly Plain[],
  to: readonly Plain[],
): readonly (readonly [number | undefined, number | undefined])[] {
  const same = (i: number, j: number) => sortOf(from[i]) === sortOf(to[j]);
  const longest = Array.from({ length: from.length + 1 }, () => Array(to.length + 1).fill(0));
  for (let i = from.length - 1; i >= 0; i--) {
    for (let j = to.length - 1; j >= 0; j--) {
      const skipped = Math.max(longest[i + 1][j], longest[i][j + 1]);
      longest[i][j] = same(i, j) ? Math.max(skipped, 1 + longest[i + 1][j + 1]) : skipped;
    }
  }
  const result: [number | undefined, number | undefined][] = [];
  let [i, j] = [0, 0];
  /** Pairs what both lists have before these places. */
  const replaceUpTo = (endI: number, endJ: number) => {
    while (i < endI || j < endJ) {
      result.push([i < endI ? i++ : undefined, j < endJ ? j++ : undefined]);
    }
  };
  for (let [nextI, nextJ] = [0, 0]; nextI < from.length && nextJ < to.length;) {
    const rest = longest[nextI][nextJ];
    if (same(nextI, nextJ) && rest === 1 + longest[nextI + 1][nextJ + 1]) {
      replaceUpTo(nextI, nextJ);
      result.push([i++, j++]);
      [nextI, nextJ] = [i, j];
    } else if (rest === longest[nextI + 1][nextJ]) nextI++;
    else nextJ++;
  }
  replaceUpTo(from.length, to.length);
  return result;
}

/** Longest text that is told in full: a table of `where` would fill the screen. */
const SHOWN_CHARACTERS = 60;

/** A value as its author would call it: `cosine 6e-4..1e-5`, `last(2)`, `["a", "b"]`. */
function words(value: unknown): string {
  if (value === undefined) return NOTHING;
  if (typeof value === "number") return numberText(value);
  if (typeof value === "string") {
    const cut = value.length > SHOWN_CHARACTERS ? `${value.slice(0, SHOWN_CHARACTERS)}…` : value;
    return JSON.stringify(cut);
  }
  if (Array.isArray(value)) return `[${value.map(words).join(", ")}]`;
  if (!isPlain(value)) return String(value);
  if (isSchedule(value)) return scheduleText(value);
  const { kind, ...rest } = value;
  const entries = Object.entries(rest).filter(([, item]) => item !== undefined);
  const named = entries.map(([key, item]) => `${key}: ${words(item)}`).join(", ");
  if (kind === undefined) return `{ ${named} }`;
  const only = entries.length === 1 ? words(entries[0][1]) : `{ ${named} }`;
  return entries.length === 0 ? String(kind) : `${kind}(${only})`;
}
