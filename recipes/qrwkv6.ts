/**
 * QRWKV6: Qwen2.5 Instruct with RAD-RWKV6 in every layer. Published are 7B, of Instruct (the default)
 * and of Base, 32B and 72B; the other sizes are ours (recipes/radlads.ts says more). "-2a" has stage
 * 2a in place of stages 2 and 3.
 *
 *     deno task plan recipes/qrwkv6.ts#32B --on "8x MI300X"
 *     deno task convert recipes/qrwkv6.ts#0.5B
 */
import { extend, radRwkv6, teacher } from "../mod.ts";
import { radlads, type Size, withStage2a } from "./radlads.ts";

const at = (size: Size) => radlads(size, radRwkv6());

const [half, one, three, seven, fourteen, thirty, seventy] = [
  at("0.5B"),
  at("1.5B"),
  at("3B"),
  at("7B"),
  at("14B"),
  at("32B"),
  at("72B"),
];
const sevenBase = extend(seven, {
  teacher: teacher("Qwen/Qwen2.5-7B"),
  output: "out/qrwkv6-7B-Base",
});
const sevenLong = withStage2a(seven);

export {
  fourteen as "14B",
  half as "0.5B",
  one as "1.5B",
  seven as "7B",
  seven as default,
  sevenBase as "7B-Base",
  sevenLong as "7B-2a",
  seventy as "72B",
  thirty as "32B",
  three as "3B",
};
