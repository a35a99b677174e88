/** What the layers of a model cost, for plans. */

import { costOf } from "../../devices/null.ts";
import * as g from "../../graph/build.ts";
import type { ModelSpec } from "../../models/config.ts";
import { mixerForward, mixerParameters, mixerPrefix } from "../../models/decoder.ts";
import { LONG } from "../../plan/plan.ts";

/** FLOPs of a token in every layer's mixer, forward, as an average over a long text. */
export function mixerFlops({ config, mixers }: ModelSpec): number[] {
  const known = new Map<string, number>();
  const flopsOf = (layer: number): number => {
    const half = config.headDim / 2;
    const width = config.attentionHeads * config.headDim;
    const { y } = mixerForward(mixers[layer], {
      config,
      layer,
      x: g.input("x", [1, LONG, config.hiddenSize]),
      weight: (name) => {
        const wanted = `${mixerPrefix(layer)}${name}`;
        const own = mixerParameters(config, mixers[layer], layer);
        return g.input(name, own.find((parameter) => parameter.name === wanted)!.shape);
      },
      cosine: g.input("cosine", [1, LONG, half]),
      sine: g.input("sine", [1, LONG, half]),
      firstValue: layer === 0
        ? undefined
        : g.input("firstValue", [1, LONG, width / config.headDim, config.headDim]),
    });
    return costOf([y]).flops / LONG;
  };
  return mixers.map((mixer, layer) => {
    // Layers of a kind differ only where the first has no value before it.
    const key = `${layer === 0} ${JSON.stringify(mixer)}`;
    const flops = known.get(key) ?? flopsOf(layer);
    known.set(key, flops);
    return flops;
  });
}
