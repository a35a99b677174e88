/**
 * The ablations of the paper (RADLADS, arXiv 2505.03005) beside the published RAD-RWKV6, on the small
 * teacher under assets/teacher. What they came to is in docs/ablations.md.
 *
 *     deno task compare recipes/ablations.ts
 */
import {
  align,
  cosine,
  distill,
  extend,
  layers,
  pipe,
  radRwkv6,
  type RadRwkv6Flags,
  tokens,
  withFlags,
  withOutput,
} from "../mod.ts";
import quickstart from "./quickstart.ts";

const published = extend(quickstart, {
  surgery: [layers.all.to(radRwkv6())],
  stages: [
    align({ tokens: tokens("400K"), context: 256, batch: 2, lr: cosine(3e-3, 1e-5) }),
    distill({ tokens: tokens("200K"), context: 256, batch: 4, lr: cosine(6e-4, 1e-5) }),
  ],
});

const ablations: Readonly<Record<string, RadRwkv6Flags>> = {
  "published": {},
  "groupnorm-unbalanced": { groupNorm: true, balanceState: false },
  "no-gate": { gate: 0 },
  "no-token-shift": { tokenShift: false },
  "new-qkvo": { reinitialise: true },
  "rope": { rope: true },
};

export default Object.entries(ablations).map(([name, flags]) =>
  pipe(published, withFlags(flags), withOutput(`out/ablations/${name}`))
);
