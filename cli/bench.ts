/** `deno task bench`: what this machine reaches. */

import { alignBench } from "./bench/align.ts";
import { decodeBench } from "./bench/decode.ts";
import { type BenchFlags, benchFlags } from "./bench/flags.ts";
import { matmulBench } from "./bench/matmul.ts";
import { trainBench } from "./bench/train.ts";
import { command, main, type Outcome, type Output } from "./command.ts";
import { UsageError } from "./flags.ts";

/** What can be measured. */
const BENCHES: Readonly<
  Record<string, (flags: BenchFlags, output: Output) => Promise<Outcome>>
> = {
  train: trainBench,
  align: alignBench,
  matmul: matmulBench,
  decode: decodeBench,
};

/** The command. */
export const bench = command({
  name: "bench",
  summary:
    "measures training steps, stage 1 by layer, matrix products, or decoding far beyond a prompt",
  arguments: { WHAT: "train, align, matmul or decode" },
  flags: benchFlags,
  run: ({ arguments: { WHAT }, flags }, output) => {
    if (!Object.hasOwn(BENCHES, WHAT)) {
      throw new UsageError(
        `WHAT: expected train, align, matmul or decode, found ${JSON.stringify(WHAT)}`,
      );
    }
    return BENCHES[WHAT](flags, output);
  },
});

if (import.meta.main) await main(bench);
