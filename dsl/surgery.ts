/** Rules of surgery: which layers get which mixer. Later rules win. */
import { type Mixer, readMixer } from "./mixers.ts";
import { keepAttention } from "./mixers.ts";
import type { Problem } from "./problem.ts";
import { list, object, type Reader, required } from "./schema.ts";
import { readSelector, selected, type Selector } from "./selectors.ts";

/** These layers get this mixer: `layers.last(2).to(keepAttention())`. */
export interface Rule {
  readonly layers: Selector;
  readonly mixer: Mixer;
}

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

/** One mixer a layer, or everything that does not fit a model of that many layers. */
export type Resolution =
  | { readonly ok: true; readonly mixers: readonly Mixer[] }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/**
 * The mixer of each layer of a model of `layerCount` layers. Layers that no rule speaks of keep
 * attention; later rules win. Problems have the path of their rule in the recipe, as in
 * `surgery[1].layers`: an index out of range, a selector that selects nothing, and, as `surgery`,
 * rules that convert layers of which later rules leave none.
 */
export function resolveSurgery(rules: readonly Rule[], layerCount: number): Resolution {
  const problems: Problem[] = [];
  const mixers = Array.from({ length: layerCount }, (): Mixer => keepAttention());
  rules.forEach(({ layers, mixer }, rule) => {
    const chosen = selected(layers, layerCount);
    if ("expected" in chosen) problems.push({ path: `surgery[${rule}].layers`, ...chosen });
    else chosen.forEach((is, layer) => is && (mixers[layer] = mixer));
  });
  if (problems.length === 0 && converts(rules) && mixers.every((m) => m.kind === "attention")) {
    problems.push({
      path: "surgery",
      expected: "a layer that is converted",
      found: `none of ${layerCount}: later rules keep attention in all of them`,
    });
  }
  return problems.length > 0
    ? { ok: false, problems: Object.freeze(problems) }
    : { ok: true, mixers: Object.freeze(mixers) };
}
