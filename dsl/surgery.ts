/** Rules of surgery: which layers get which mixer. Later rules win. */
import { keepAttention, type Mixer, readMixer, type Worst } from "./mixers.ts";
import type { Problem } from "./problem.ts";
import { list, object, type Reader, required } from "./schema.ts";
import { readSelector, type Rule, selected } from "./selectors.ts";

const readRule = object<Rule>("a rule such as layers.all.to(radRwkv7())", {
  layers: required(readSelector),
  mixer: required(readMixer),
});

export const readSurgery: Reader<readonly Rule[]> = list(
  readRule,
  "a list of rules such as [layers.all.to(radRwkv7())]",
);

/** Whether any rule converts a layer. */
export function converts(surgery: readonly Rule[]): boolean {
  return surgery.some(({ mixer }) => mixer.kind !== "attention");
}

/** Layers that are converted, some of which go back to attention once it is measured which. */
export interface Choice {
  readonly layers: readonly number[];
  /** How many of them keep attention in the end. */
  readonly count: number;
}

/** One mixer a layer, or everything that does not fit a model of that many layers. */
export type Resolution =
  | { readonly ok: true; readonly mixers: readonly Mixer[]; readonly choice?: Choice }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/**
 * The mixer of each layer of a model of `layerCount` layers. Layers that no rule speaks of keep
 * attention; later rules win. Problems have the path of their rule in the recipe, as in
 * `surgery[1].layers`: an index out of range, a selector that selects nothing, and, as `surgery`,
 * rules that convert layers of which later rules leave none. Of a rule with `worst(n)` the layers
 * are returned that it chooses among: the converted ones that no later rule speaks of.
 */
export function resolveSurgery(rules: readonly Rule[], layerCount: number): Resolution {
  const problems: Problem[] = [];
  const mixers = Array.from({ length: layerCount }, (): Mixer => keepAttention());
  const measured = mixers.map(() => false);
  rules.forEach(({ layers, mixer }, rule) => {
    const chosen = selected(layers, layerCount);
    if ("expected" in chosen) {
      problems.push({ path: `surgery[${rule}].layers`, ...chosen });
      return;
    }
    const measures = measuresLayers(mixer);
    chosen.forEach((is, layer) => {
      if (!is) return;
      measured[layer] = measures;
      if (!measures) mixers[layer] = mixer;
    });
  });
  if (problems.length === 0 && converts(rules) && mixers.every((m) => m.kind === "attention")) {
    problems.push({
      path: "surgery",
      expected: "a layer that is converted",
      found: `none of ${layerCount}: later rules keep attention in all of them`,
    });
  }
  const choice = problems.length > 0 ? undefined : choiceAmong(rules, mixers, measured);
  if (choice !== undefined && "expected" in choice) problems.push(choice);
  return problems.length > 0
    ? { ok: false, problems: Object.freeze(problems) }
    : { ok: true, mixers: Object.freeze(mixers), ...choice as { choice: Choice } | undefined };
}

/** Whether a mixer is for layers that are yet to be found by measurement. */
export function measuresLayers(mixer: Mixer): boolean {
  return worstOf(mixer) !== undefined;
}

/** How many layers a mixer is for, where these are yet to be found by measurement. */
const worstOf = (mixer: Mixer): Worst | undefined =>
  mixer.kind === "attention" ? mixer.where : undefined;

/** What the rule with `worst(n)` chooses among; fewer than all must go back to attention. */
function choiceAmong(
  rules: readonly Rule[],
  mixers: readonly Mixer[],
  measured: readonly boolean[],
): { readonly choice: Choice } | Problem | undefined {
  const rule = rules.findIndex(({ mixer }) => measuresLayers(mixer));
  const worst = rule === -1 ? undefined : worstOf(rules[rule].mixer);
  if (worst === undefined) return undefined;
  const layers = mixers.flatMap(({ kind }, i) => measured[i] && kind !== "attention" ? [i] : []);
  const { count } = worst;
  if (count < layers.length) return { choice: Object.freeze({ layers, count }) };
  return {
    path: `surgery[${rule}].mixer.where.count`,
    expected: `fewer than the ${layers.length} converted layers that the rule chooses among`,
    found: `${count}`,
  };
}
