/**
 * QRWKV7: Qwen2.5 with RAD-RWKV7 in every layer, as published. The default is 7B; other sizes are
 * named after the file, with stage 2a as well where the name ends so.
 *
 *     deno task plan recipes/qrwkv7.ts#32B --on "8x MI300X"
 *     deno task convert recipes/qrwkv7.ts#0.5B
 */
import { radRwkv7 } from "../mod.ts";
import { radlads, type Size, withStage2a } from "./radlads.ts";

const at = (size: Size) => radlads(size, radRwkv7());

const [half, one, three, seven, fourteen, thirty, seventy] = [
  at("0.5B"),
  at("1.5B"),
  at("3B"),
  at("7B"),
  at("14B"),
  at("32B"),
  at("72B"),
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
