/** `deno task bench train`: tokens/s of a training step. */

import { runPeer } from "../../bench/peer.ts";
import { preparePython } from "../../bench/python.ts";
import type { ShapeName } from "../../bench/shapes.ts";
import { benchTrain, type TrainBench } from "../../bench/train.ts";
import { machineReport } from "../../train/machine.ts";
import type { Outcome, Output } from "../command.ts";
import { withDevice } from "../device.ts";
import { UsageError } from "../flags.ts";
import { bytesText, table } from "../table.ts";
import { unpinBlas } from "./pins.ts";
import type { BenchFlags, PEERS } from "./flags.ts";

/** Turns of ours and theirs; the best of each counts. */
const TURNS = 3;
/** Rows of the profile that are printed. */
const PROFILE_ROWS = 30;

/** Times steps of random weights and tokens. */
export function trainBench(flags: BenchFlags, { print, say }: Output): Promise<Outcome> {
  unpinBlas();
  return withDevice(flags, say, async (device) => {
    const { shape = "tiny", mixer, steps, vs } = flags;
    if (mixer === "attention") {
      throw new UsageError("--mixer: expected rwkv6 or rwkv7, which students are trained with");
    }
    if (vs !== undefined && mixer !== "rwkv7") {
      throw new UsageError("--vs: expected --mixer rwkv7, which PyTorch is measured with");
    }
    const stage = flags.stage === "1" ? 1 : 2;
    const measure = () => benchTrain(device, { shape, mixer, stage, steps }, flags.profile);
    const compared = vs === undefined
      ? undefined
      : await inTurn(measure, { shape, stage, vs, threads: flags.threads }, say);
    const result = compared?.ours ?? await measure();
    const { tokensPerSecond, medianTokensPerSecond, gflops, secondsPerStep, bytes } = result;
    print(table([
      ["shape", "mixer", "stage", "tokens/s", "median", "GFLOPS", "ms a step", "memory"],
      [
        shape,
        mixer,
        flags.stage,
        tokensPerSecond.toFixed(0),
        medianTokensPerSecond.toFixed(0),
        gflops.toFixed(1),
        (1000 * secondsPerStep).toFixed(1),
        bytesText(bytes),
      ],
    ]));
    if (compared !== undefined) {
      const { theirs, ratio } = compared;
      print(`\n${vs}: ${theirs.toFixed(0)} tokens/s; ours is ${ratio.toFixed(3)} × that\n`);
    }
    if (result.profile !== undefined) print(`\n${profileTable(result.profile)}`);
    return {
      report: {
        shape,
        mixer,
        stage,
        steps,
        tokens_per_second: tokensPerSecond,
        median_tokens_per_second: medianTokensPerSecond,
        gflops,
        seconds_per_step: secondsPerStep,
        bytes,
        profile: result.profile,
        ...(compared && {
          peer: vs,
          peer_tokens_per_second: compared.theirs,
          ratio: compared.ratio,
        }),
        device: device.description,
        ...machineReport(),
      },
    };
  });
}

/** Ours and the peer's in turn, so that both see the same machine; the best of each. */
async function inTurn(
  measure: () => Promise<TrainBench>,
  peer: {
    readonly shape: ShapeName;
    readonly stage: 1 | 2;
    readonly vs: typeof PEERS[number];
    readonly threads: number | undefined;
  },
  say: (line: string) => void,
): Promise<{ ours: TrainBench; theirs: number; ratio: number }> {
  await preparePython(say);
  let ours: TrainBench | undefined;
  let theirs = 0;
  for (let turn = 1; turn <= TURNS; turn++) {
    const mine = await measure();
    if (ours === undefined || mine.tokensPerSecond > ours.tokensPerSecond) ours = mine;
    const { tokens_per_second } = await runPeer({
      shape: peer.shape,
      stage: peer.stage,
      wkv: peer.vs === "torch-chunked" ? "chunked" : "native",
      bf16: peer.vs === "torch-bf16",
      compile: peer.vs === "torch-compile",
      threads: peer.threads ?? navigator.hardwareConcurrency,
      steps: 0,
    });
    theirs = Math.max(theirs, tokens_per_second);
    say(
      `turn ${turn}: ours ${mine.tokensPerSecond.toFixed(0)}, ` +
        `${peer.vs} ${tokens_per_second.toFixed(0)} tokens/s`,
    );
  }
  return { ours: ours!, theirs, ratio: ours!.tokensPerSecond / theirs };
}

function profileTable(profile: NonNullable<Awaited<ReturnType<typeof benchTrain>>["profile"]>) {
  const total = profile.reduce((sum, { seconds }) => sum + seconds, 0);
  return table([
    ["kernel", "launches", "ms", "share", "GFLOPS", "GB/s"],
    ...profile.slice(0, PROFILE_ROWS).map(({ label, launches, seconds, flops, bytes }) => [
      label.length > 60 ? `${label.slice(0, 59)}…` : label,
      `${launches}`,
      (1000 * seconds).toFixed(2),
      `${(100 * seconds / total).toFixed(1)} %`,
      (flops / seconds / 1e9).toFixed(1),
      (bytes / seconds / 1e9).toFixed(1),
    ]),
  ]);
}
