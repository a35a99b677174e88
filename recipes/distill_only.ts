/**
 * The quickstart without stage 1: all its tokens go to distillation. What that costs is in
 * docs/stages.md.
 *
 *     deno task convert recipes/distill_only.ts
 */
import { constant, distill, extend, tokens } from "../mod.ts";
import quickstart from "./quickstart.ts";

export default extend(quickstart, {
  stages: [
    distill({ tokens: tokens("1.4M"), context: 256, batch: 4, lr: constant(3e-4) }),
  ],
  output: "out/distill-only",
});
