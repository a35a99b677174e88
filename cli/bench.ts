/** `deno task bench`: what this machine reaches. */

import { machineReport } from "../train/machine.ts";
import { agreementPart } from "./bench/agreement.ts";
import { alignPart } from "./bench/align.ts";
import { allBench } from "./bench/all.ts";
import { decodePart } from "./bench/decode.ts";
import { benchFlags, CPU_PARTS, GPU_PARTS, PART_NAMES, type PartName } from "./bench/flags.ts";
import { growthPart } from "./bench/growth.ts";
import { matmulPart } from "./bench/matmul.ts";
import { memoryPart } from "./bench/memory.ts";
import { operationsPart } from "./bench/operations.ts";
import { type BenchPart, partContext, resultText } from "./bench/part.ts";
import { peaksPart } from "./bench/peaks.ts";
import { trainPart } from "./bench/train.ts";
import { command, main } from "./command/command.ts";
import { deviceNamed } from "./device.ts";
import { either, UsageError } from "./command/flags.ts";

/** Everything that can be measured. */
const PARTS: Readonly<Record<PartName, BenchPart>> = {
  peaks: peaksPart,
  matmul: matmulPart,
  operations: operationsPart,
  agreement: agreementPart,
  train: trainPart,
  memory: memoryPart,
  align: alignPart,
  decode: decodePart,
  growth: growthPart,
};

const WORDS = either(PART_NAMES);

/** By these some machines hold OpenBLAS to an older processor's kernels; a bench wants its own. */
const BLAS_PINS = ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"];

/** The flags that are of everything, and not of one part. */
const OF_ALL = ["only", "out", "json-out"] as const;

const isPart = (word: string): word is PartName => Object.hasOwn(PARTS, word);

/** The command. */
export const bench = command({
  name: "bench",
  summary: "measures training steps and matrix products beside PyTorch, every kind of kernel, " +
    "decoding, memory, the machine's peaks, and how cost grows; checks results of a GPU",
  arguments: { "[WHAT]": `${WORDS}; nothing with --all or a GPU, for everything` },
  flags: benchFlags,
  run: async ({ arguments: { "[WHAT]": what }, flags: given }, output) => {
    const flags = { ...given, device: await deviceNamed(given, output.say) };
    const onGpu = flags.device !== "cpu";
    const all = flags.all || onGpu && what === undefined;
    if (flags.all && what !== undefined) {
      throw new UsageError(`WHAT: expected nothing beside --all, found ${JSON.stringify(what)}`);
    }
    for (const name of OF_ALL) {
      if (flags[name] !== undefined && !all) {
        throw new UsageError(`--${name}: expected --all beside it`);
      }
    }
    for (const pin of BLAS_PINS) Deno.env.delete(pin);
    if (all) {
      const wanted = flags.only ?? (onGpu ? GPU_PARTS : CPU_PARTS);
      return await allBench(wanted.map((name) => PARTS[name]), flags, output);
    }
    if (what === undefined || !isPart(what)) {
      const found = what === undefined ? "nothing" : JSON.stringify(what);
      throw new UsageError(`WHAT: expected ${WORDS}, or --all, found ${found}`);
    }
    const result = await PARTS[what].measure(flags, partContext(flags, output.say, false));
    output.print(resultText(result, output.columns()));
    return { report: { ...result.report, ...machineReport() }, failed: result.failed };
  },
});

if (import.meta.main) await main(bench);
