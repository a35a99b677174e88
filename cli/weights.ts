/** The flag by which commands choose in how many bits weights are held. */

import { WEIGHT_FORMATS } from "../infer/weights.ts";
import { choice, optional } from "./command/flags.ts";

/** See docs/decoding.md. */
export const weightsFlag = optional(choice("how weights are held", WEIGHT_FORMATS), "f32");
