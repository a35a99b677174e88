/**
 * The quickstart with RAD-RWKV6 in every layer: the same text, the same number of tokens.
 *
 *     deno task convert recipes/quickstart-rwkv6.ts
 */
import { extend, layers, radRwkv6 } from "../mod.ts";
import quickstart from "./quickstart.ts";

export default extend(quickstart, {
  surgery: [layers.all.to(radRwkv6())],
  output: "out/quickstart-rwkv6",
});
