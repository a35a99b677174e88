/**
 * The quickstart without stage 1: all its tokens go to distillation. What that costs is in
 * docs/stages.md.
 *
 *     deno task convert recipes/distill-only.ts
 */
import { cosine, distill, extend, tokens } from "../mod.ts";
import quickstart from "./quickstart.ts";

export default extend(quickstart, {
  stages: [
    distill({ tokens: tokens("1.5M"), context: 256, batch: 4, lr: cosine(1e-3, 1e-5) }),
  ],
  output: "out/distill-only",
});
