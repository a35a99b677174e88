/**
 * The quickstart without a corpus: the teacher writes the text that it is converted on.
 *
 *     deno task convert recipes/without-corpus.ts
 */
import { extend, samples, teacher, tokens } from "../mod.ts";
import quickstart from "./quickstart.ts";

export default extend(quickstart, {
  data: samples(teacher("assets/teacher"), tokens("1.5M")),
  output: "out/without-corpus",
});
