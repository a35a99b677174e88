/** The memory of this process. */

import { resourceUsage } from "node:process";

/** Bytes of this process in the machine's memory at its largest so far. */
export const processPeak = (): number => 1024 * resourceUsage().maxRSS;
