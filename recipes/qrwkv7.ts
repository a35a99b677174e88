/**
 * QRWKV7: Qwen2.5 Instruct with RAD-RWKV7 in every layer. Published is 7B, the default; the other
 * sizes are ours (recipes/radlads.ts says more). "-2a" has stage 2a in place of stages 2 and 3.
 *
 * From 14B up the state is balanced and there is no GroupNorm, as in the paper's appendix A.2: it
 * found that GroupNorm makes training unstable there (section 8). The published 7B has GroupNorm and
 * an unbalanced state.
 *
 *     deno task plan recipes/qrwkv7.ts#32B --on "8x MI300X"
 *     deno task convert recipes/qrwkv7.ts#0.5B
 */
import { radRwkv7 } from "../mod.ts";
import { radlads, type Size, withStage2a } from "./radlads.ts";

const at = (size: Size) => radlads(size, radRwkv7());
const balanced = (size: Size) => radlads(size, radRwkv7({ balanceState: true, groupNorm: false }));

const [half, one, three, seven, fourteen, thirty, seventy] = [
  at("0.5B"),
  at("1.5B"),
  at("3B"),
  at("7B"),
  balanced("14B"),
  balanced("32B"),
  balanced("72B"),
];
const sevenLong = withStage2a(seven);

export {
  fourteen as "14B",
  half as "0.5B",
  one as "1.5B",
  seven as "7B",
  seven as default,
  sevenLong as "7B-2a",
  seventy as "72B",
  thirty as "32B",
  three as "3B",
};
