/**
 * Prints the flags of V8 for tasks that compute, which run it before they start. It is started with
 * the flag that not every V8 has, so that it fails where that is so.
 */

import { wideFlags } from "../devices/cpu/v8_flags.ts";

if (import.meta.main) console.log(wideFlags());
