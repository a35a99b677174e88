/** `deno task bench train`: tokens/s of a training step, in turn with PyTorch's. */

import type { Peaks } from "../../bench/peaks.ts";
import { type PeerName, type PeerResult, peersOf, runPeer } from "../../bench/peer.ts";
import { preparePython } from "../../bench/python.ts";
import type { BenchMixer, ShapeName } from "../../bench/shapes.ts";
import { benchTrain, type StepBench } from "../../bench/train.ts";
import { debugLevel } from "../debug.ts";
import { UsageError } from "../command/flags.ts";
import { profileText, rateCells } from "../profile_text.ts";
import { bytesText } from "../terminal/table.ts";
import { type Form, formsOf } from "./forms.ts";
import type { BenchFlags } from "./flags.ts";
import {
  type BenchPart,
  machinePeaks,
  type PartContext,
  type PartResult,
  type PartTable,
  peerDevice,
} from "./part.ts";

/** Time that a peer has for one turn, start and compilation included, and in a quick run. */
const LIMIT = 600;
const QUICK_LIMIT = 60;
/** Time of the steps of a turn, and in a quick run. */
const SECONDS = 20;
const QUICK_SECONDS = 2;
/** What a quick run leaves out: torch with another allocator. */
const LEFT_OUT: PeerName = "torch-keep";

/** What ours has to reach, as a multiple of a peer. */
const BARS: Readonly<Record<Form["name"], Partial<Record<PeerName, number>>>> = {
  BLAS: { torch: 1.5, "torch-bf16": 1 },
  "machine code": {},
  GPU: {},
  WebAssembly: { torch: 0.8 },
};

/** The shapes where none is named: of everything, and of `train` alone. */
const CPU_SHAPES: readonly ShapeName[] = ["tiny", "small", "smollm"];
const GPU_SHAPES: readonly ShapeName[] = ["small", "smollm"];
const DEFAULT_SHAPES: readonly ShapeName[] = ["tiny"];

/** A step that is measured. */
interface Subject {
  readonly shape: ShapeName;
  readonly stage: 1 | 2;
}

/** What was measured of it: the best turn of each. */
interface Measured extends Subject {
  readonly ours: readonly { readonly form: Form; readonly bench: StepBench }[];
  readonly peers: readonly { readonly name: PeerName; readonly result: PeerResult }[];
}

/** Steps of random weights and tokens. */
export const trainPart: BenchPart = {
  name: "train",
  title: "Training steps",
  measure: async (flags, context) => {
    const { all, say } = context;
    studentMixer(flags);
    const onGpu = flags.device !== "cpu";
    const shapes = flags.shape ?? (all ? onGpu ? GPU_SHAPES : CPU_SHAPES : DEFAULT_SHAPES);
    const stages = (flags.stage ?? (all ? ["1", "2"] : ["1"])).map((s) => s === "1" ? 1 : 2);
    const known = Object.keys(peersOf(peerDevice(flags))) as PeerName[];
    const usual = flags.quick ? known.filter((name) => name !== LEFT_OUT) : known;
    const peers = flags.vs ?? (all && !onGpu ? usual : []);
    if (peers.length > 0) {
      check(shapes, peers, known, flags);
      await preparePython(say, flags.python);
    }
    const measured: Measured[] = [];
    for (const shape of shapes) {
      for (const stage of stages) {
        measured.push(await inTurn({ shape, stage }, peers, measured, flags, context));
      }
    }
    const forms = measured[0].ours.map(({ form }) => form);
    return resultOf(measured, flags, await machinePeaks(context, forms));
  },
};

/** What every layer of the student has. */
export function studentMixer({ mixer }: BenchFlags): BenchMixer {
  if (mixer === "attention") {
    throw new UsageError("--mixer: expected rwkv6 or rwkv7, which students are trained with");
  }
  return mixer;
}

function check(
  shapes: readonly ShapeName[],
  peers: readonly PeerName[],
  known: readonly PeerName[],
  { mixer, device }: BenchFlags,
): void {
  const others = peers.filter((name) => !known.includes(name));
  if (others.length > 0) {
    throw new UsageError(
      `--vs: expected ${known.join(", ")} with --device ${device}, found ${others.join(", ")}`,
    );
  }
  if (mixer !== "rwkv7") {
    throw new UsageError("--vs: expected --mixer rwkv7, which PyTorch is measured with");
  }
  if (shapes.includes("quickstart")) {
    throw new UsageError("--vs: expected --shape tiny, small or smollm, which PyTorch has too");
  }
}

/** Peers that failed at a step, and would at a larger one. */
function givenUp(measured: readonly Measured[]): Map<PeerName, PeerResult> {
  const found = new Map<PeerName, PeerResult>();
  for (const { shape, stage, peers } of measured) {
    for (const { name, result } of peers) {
      if (!("failed" in result) || found.has(name)) continue;
      found.set(name, { failed: `not tried, after ${shape} ${stage}: ${result.failed}` });
    }
  }
  return found;
}

/**
 * Ours and theirs in turn, so that all see the same machine; the best turn of each.
 * @param before what was measured so far
 */
async function inTurn(
  subject: Subject,
  peers: readonly PeerName[],
  before: readonly Measured[],
  flags: BenchFlags,
  { all, threads, say, device }: PartContext,
): Promise<Measured> {
  const { steps, quick } = flags;
  const mixer = studentMixer(flags);
  const seconds = flags.seconds ?? (quick ? QUICK_SECONDS : SECONDS);
  const turns = flags.turns ?? (quick || peers.length === 0 ? 1 : 3);
  const profile = flags.profile || debugLevel() >= 2;
  const ours = new Map<Form, StepBench>();
  const forms = formsOf(flags, all);
  const theirs = givenUp(before);
  for (let turn = 1; turn <= turns; turn++) {
    const told: string[] = [];
    for (const form of forms) {
      const bench = await device(
        (own) => benchTrain(own, { ...subject, mixer, steps, seconds }, profile),
        form,
      );
      const before = ours.get(form);
      const better = (before?.medianTokensPerSecond ?? 0) < bench.medianTokensPerSecond;
      if (better) ours.set(form, bench);
      told.push(`${form.label} ${bench.medianTokensPerSecond.toFixed(0)}`);
    }
    for (const name of peers) {
      const before = theirs.get(name);
      if (before !== undefined && "failed" in before) continue;
      const result = await runPeer(name, {
        shape: subject.shape as Exclude<ShapeName, "quickstart">,
        stage: subject.stage,
        threads,
        device: peerDevice(flags),
        python: flags.python,
        seconds,
        limit: quick ? QUICK_LIMIT : LIMIT,
      });
      if ("failed" in result) told.push(`${name} ${result.failed}`);
      else told.push(`${name} ${result.median.toFixed(0)}`);
      if (before === undefined || "failed" in result || before.median < result.median) {
        theirs.set(name, result);
      }
    }
    const { shape, stage } = subject;
    say(`${shape} stage ${stage}, turn ${turn} of ${turns}, tokens/s: ${told.join(", ")}`);
  }
  return {
    ...subject,
    ours: [...ours].map(([form, bench]) => ({ form, bench })),
    // In the order of `peers`: those given up before stand first in the map.
    peers: peers.map((name) => ({ name, result: theirs.get(name)! })),
  };
}

function resultOf(
  measured: readonly Measured[],
  flags: BenchFlags,
  peaks: Peaks,
): PartResult {
  const { mixer, steps } = flags;
  const compared = measured[0].peers.length > 0;
  const profiles = measured.flatMap(({ shape, stage, ours }) =>
    ours.flatMap(({ form, bench: { profile } }) =>
      profile === undefined ? [] : [
        `${shape} stage ${stage}, ${form.label}:\n\n${profileText(profile, peaks)}`,
      ]
    )
  );
  return {
    content: [
      oursTable(measured, mixer, peaks),
      ...(compared ? [peersTable(measured)] : []),
      ...(compared ? [...barsNote(measured), peersNote(measured, peerDevice(flags))] : []),
      ...profiles,
    ],
    report: {
      rows: measured.flatMap(({ shape, stage, ours, peers }) =>
        ours.map(({ form, bench }) => ({
          shape,
          mixer,
          stage,
          steps,
          form: form.label,
          device: bench.device,
          tokens_per_second: bench.medianTokensPerSecond,
          best_tokens_per_second: bench.tokensPerSecond,
          gflops: bench.gflops,
          peak_gflops: peaks.machineGflops,
          seconds_per_step: bench.secondsPerStep,
          bytes: bench.bytes,
          profile: bench.profile,
          peers: peers.map(({ name, result }) =>
            "failed" in result ? { name, failed: result.failed } : {
              name,
              tokens_per_second: result.median,
              best_tokens_per_second: result.best,
              ratio: bench.medianTokensPerSecond / result.median,
            }
          ),
        }))
      ),
    },
  };
}

function oursTable(
  measured: readonly Measured[],
  mixer: string,
  peaks: Peaks,
): PartTable {
  const head = ["shape", "mixer", "stage", "form", "tokens/s", "fastest"];
  return {
    rows: [
      [...head, "GFLOPS", "of peak", "ms a step", "memory"],
      ...measured.flatMap(({ shape, stage, ours }) =>
        ours.map(({ form, bench }) => [
          ...[shape, mixer, `${stage}`, form.label],
          bench.medianTokensPerSecond.toFixed(0),
          bench.tokensPerSecond.toFixed(0),
          ...rateCells(bench.gflops, peaks.machineGflops),
          (1000 * bench.secondsPerStep).toFixed(1),
          bytesText(bench.bytes),
        ])
      ),
    ],
  };
}

/** A column a peer: how many times its tokens/s ours are. */
function peersTable(measured: readonly Measured[]): PartTable {
  const names = measured[0].peers.map(({ name }) => name);
  return {
    rows: [
      ["shape", "stage", "form", "tokens/s", ...names],
      ...measured.flatMap(({ shape, stage, ours, peers }) =>
        ours.map(({ form, bench: { medianTokensPerSecond: mine } }) => [
          ...[shape, `${stage}`, form.label, mine.toFixed(0)],
          ...peers.map(({ result }) =>
            "failed" in result
              ? "failed"
              : `${(mine / result.median).toFixed(2)} × ${result.median.toFixed(0)}`
          ),
        ])
      ),
    ],
  };
}

/** What the forms that were measured have to reach. */
function barsNote(measured: readonly Measured[]): string[] {
  const bars = measured[0].ours.flatMap(({ form: { name } }) =>
    Object.entries(BARS[name]).map(([peer, bar]) => `${name} ${bar} × ${peer}`)
  );
  return bars.length === 0 ? [] : [`To be reached at least: ${bars.join(", ")}.`];
}

/** What the peers are, and why one of them did not run. */
function peersNote(measured: readonly Measured[], device: "cpu" | "cuda"): string {
  const list = measured[0].peers.map(({ name }) => {
    const failures = measured.flatMap(({ shape, stage, peers }) => {
      const result = peers.find((peer) => peer.name === name)?.result;
      return result !== undefined && "failed" in result
        ? [`; failed at ${shape}, stage ${stage}: ${result.failed}`]
        : [];
    });
    return `- ${name}: ${peersOf(device)[name]?.label}${failures.join("")}`;
  });
  return `Tokens a second by the median step, the best turn of each. Peers:\n\n${list.join("\n")}`;
}
