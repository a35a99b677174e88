/** `deno task bench`: what this machine reaches. */

import { machineReport } from "../train/machine.ts";
import { alignPart } from "./bench/align.ts";
import { allBench } from "./bench/all.ts";
import { decodePart } from "./bench/decode.ts";
import { benchFlags, PART_NAMES, type PartName } from "./bench/flags.ts";
import { growthPart } from "./bench/growth.ts";
import { matmulPart } from "./bench/matmul.ts";
import { type BenchPart, partContext, resultText } from "./bench/part.ts";
import { peaksPart } from "./bench/peaks.ts";
import { unpinBlas } from "./bench/pins.ts";
import { trainPart } from "./bench/train.ts";
import { command, main } from "./command.ts";
import { UsageError } from "./flags.ts";

/** What `--all` measures, in its order. */
const PARTS: Readonly<Record<PartName, BenchPart>> = {
  peaks: peaksPart,
  matmul: matmulPart,
  train: trainPart,
  decode: decodePart,
  growth: growthPart,
};

/** What is measured of a model that the command line names. */
const OTHERS: Readonly<Record<string, BenchPart>> = { align: alignPart };

const WORDS = [...PART_NAMES, ...Object.keys(OTHERS)].join(", ").replace(/, (\w+)$/, " or $1");

/** The command. */
export const bench = command({
  name: "bench",
  summary: "measures training steps and matrix products beside PyTorch, decoding, the machine's " +
    "peaks, and how cost grows",
  arguments: { "[WHAT]": `${WORDS}; nothing with --all` },
  flags: benchFlags,
  run: async ({ arguments: { "[WHAT]": what }, flags }, output) => {
    const { all, only } = flags;
    if (all && what !== undefined) {
      throw new UsageError(`WHAT: expected nothing beside --all, found ${JSON.stringify(what)}`);
    }
    if (only !== undefined && !all) throw new UsageError("--only: expected --all beside it");
    if (flags.out !== undefined && !all) throw new UsageError("--out: expected --all beside it");
    unpinBlas();
    if (all) {
      return await allBench(PART_NAMES.map((name) => ({ ...PARTS[name], name })), flags, output);
    }
    const known: Readonly<Record<string, BenchPart>> = { ...PARTS, ...OTHERS };
    if (what === undefined || !Object.hasOwn(known, what)) {
      const found = what === undefined ? "nothing" : JSON.stringify(what);
      throw new UsageError(`WHAT: expected ${WORDS}, or --all, found ${found}`);
    }
    const result = await known[what].measure(flags, partContext(flags, output.say, false));
    output.print(resultText(result));
    return { report: { ...result.report, ...machineReport() } };
  },
});

if (import.meta.main) await main(bench);
