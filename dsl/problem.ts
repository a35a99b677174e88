/**
 * What is wrong with a recipe: where, what was expected, what was found. Validation collects
 * problems; it never stops at the first one.
 */

/** One thing that is wrong. `path` points into the recipe, as in `stages[1].context`. */
export interface Problem {
  /** Where in the recipe. */
  readonly path: string;
  /** What should be there, in words that follow "expected". */
  readonly expected: string;
  /** What is there instead, in a few words. */
  readonly found: string;
  /** What the author probably meant, or what to do about it. */
  readonly hint?: string;
}

/** `stages[1].context: expected a multiple of 16, found 100`, on one line. */
export function describe(problem: Problem): string {
  const { path, expected, found, hint } = problem;
  const line = `${path}: expected ${expected}, found ${found}`;
  return printable(hint === undefined ? line : `${line}; ${hint}`).replaceAll("\n", " ");
}

/**
 * Text of unknown origin without what a terminal would obey: colours, movements of the cursor,
 * changes of direction.
 */
export function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  const colours = /\x1b\[[\d;]*m/g;
  // deno-lint-ignore no-control-regex
  const controls = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
  return text.replaceAll(colours, "").replaceAll(controls, "");
}

/** Problems beyond this many are counted and not listed: the first hundred are work enough. */
const LISTED_PROBLEMS = 100;

/** Every problem of one recipe. `where` names the recipe, by its file where it has one. */
export class RecipeError extends Error {
  /** Tells it from other errors. */
  override readonly name = "RecipeError";
  /** All of them, also those that the message only counts. */
  readonly problems: readonly Problem[];

  /** An error of at least one problem. */
  constructor(problems: readonly Problem[], where = "the recipe") {
    const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
    const lines = problems.slice(0, LISTED_PROBLEMS).map((problem) => `  ${describe(problem)}`);
    if (problems.length > LISTED_PROBLEMS) {
      lines.push(`  … and ${problems.length - LISTED_PROBLEMS} more`);
    }
    super(`${count} in ${where}:\n${lines.join("\n")}`);
    this.problems = Object.freeze([...problems]);
  }
}

/** Longest text that `show` quotes in full. */
const SHOWN_CHARACTERS = 60;

/** A value in a few words, for `found`: `100`, `"fast"`, `a list of 3`, `a function`. */
export function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (typeof value === "string") {
    const text = value.length > SHOWN_CHARACTERS ? value.slice(0, SHOWN_CHARACTERS) + "…" : value;
    return JSON.stringify(text);
  }
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (typeof value === "bigint") return `${value}n`;
  if (Array.isArray(value)) {
    return value.length === 0 ? "an empty list" : `a list of ${value.length}`;
  }
  if (typeof value === "object") return "an object";
  return `a ${typeof value}`;
}

/** The known name that a misspelt one is nearest to, if any is near: `grupNorm` → `groupNorm`. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  if (name.length > SHOWN_CHARACTERS) return undefined;
  const plain = (text: string) => text.toLowerCase().replaceAll(/[_-]/g, "");
  const ranked = known
    .map((candidate) => ({ candidate, distance: editDistance(plain(name), plain(candidate)) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  if (best === undefined) return undefined;
  return best.distance <= Math.max(1, Math.floor(name.length / 3)) ? best.candidate : undefined;
}

/** Levenshtein distance, where two neighbours that changed places count as one edit. */
function editDistance(a: string, b: string): number {
  const rows = Array.from({ length: a.length + 1 }, (_, i) => {
    return Array.from({ length: b.length + 1 }, (_, j) => (i === 0 ? j : j === 0 ? i : 0));
  });
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const replaced = rows[i - 1][j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      rows[i][j] = Math.min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, replaced);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        rows[i][j] = Math.min(rows[i][j], rows[i - 2][j - 2] + 1);
      }
    }
  }
  return rows[a.length][b.length];
}
