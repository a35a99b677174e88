/** The PyTorch peer (peer.py): the same training step as a good PyTorch user would write it. */

import { FormatError } from "../formats/error.ts";
import { type Python, runPythonFor } from "./python.ts";
import type { ShapeName } from "./shapes.ts";

/** A way to run the step in PyTorch. */
export interface Peer {
  readonly label: string;
  /** What peer.py is told. */
  readonly words: readonly string[];
}

const NATIVE = ["--wkv", "native"];

/** The peers by name; the first is the one that Suture has to beat. */
export const PEERS = {
  torch: {
    label: "f32, WKV7 as a C++ kernel, PyTorch as it comes",
    words: [...NATIVE, "--malloc", "default"],
  },
  "torch-keep": {
    label: "the same, freed memory stays with the process",
    words: [...NATIVE, "--malloc", "keep"],
  },
  "torch-chunked": {
    label: "f32, WKV7 as PyTorch operations by chunks",
    words: ["--wkv", "chunked", "--malloc", "default"],
  },
  "torch-bf16": {
    label: "bf16 teacher and autocast, WKV7 as a C++ kernel",
    words: [...NATIVE, "--malloc", "default", "--bf16"],
  },
  "torch-compile": {
    label: "f32, WKV7 as a C++ kernel, torch.compile",
    words: [...NATIVE, "--malloc", "default", "--compile"],
  },
} as const satisfies Readonly<Record<string, Peer>>;

/** A peer's name. */
export type PeerName = keyof typeof PEERS;

/** The peers that PyTorch has on a GPU, where there is no C++ kernel and no heap to keep. */
const CUDA_PEERS = {
  torch: {
    label: "f32, WKV7 as PyTorch operations by chunks, on the GPU",
    words: ["--wkv", "chunked"],
  },
  "torch-bf16": {
    label: "the same with a bf16 teacher and autocast",
    words: ["--wkv", "chunked", "--bf16"],
  },
  "torch-compile": {
    label: "the first with torch.compile",
    words: ["--wkv", "chunked", "--compile"],
  },
} as const satisfies Readonly<Partial<Record<PeerName, Peer>>>;

/** The peers of a device. */
export const peersOf = (device: PeerMachine["device"]): Readonly<Partial<Record<PeerName, Peer>>> =>
  device === "cuda" ? CUDA_PEERS : PEERS;

/** What runs PyTorch. */
export interface PeerMachine {
  readonly threads: number;
  readonly device: "cpu" | "cuda";
  readonly python: Python;
}

/** What a peer runs. */
export interface PeerOptions extends PeerMachine {
  readonly shape: Exclude<ShapeName, "quickstart">;
  readonly stage: 1 | 2;
  /** Time of the steps that count. */
  readonly seconds: number;
  /** Time after which it is given up. */
  readonly limit: number;
}

/** What a peer reached: tokens a second by the median step and by the fastest, or why nothing. */
export type PeerResult =
  | { readonly median: number; readonly best: number }
  | { readonly failed: string };

/** Runs a peer once; what it cannot do is told, for other peers can. */
export async function runPeer(name: PeerName, options: PeerOptions): Promise<PeerResult> {
  const { shape, stage, threads, device, python, seconds, limit } = options;
  const peer = peersOf(device)[name];
  if (peer === undefined) return { failed: `not on ${device}` };
  try {
    const printed = await runPythonFor(limit, [
      ...["bench/peer.py", "--json", "--shape", shape, "--stage", `${stage}`],
      ...["--threads", `${threads}`, "--seconds", `${seconds}`, "--device", device],
      ...peer.words,
    ], python);
    if (printed === undefined) return { failed: `nothing after ${limit} s` };
    const { tokens_per_second, tokens_per_second_best } = JSON.parse(lastLine(printed));
    return { median: tokens_per_second, best: tokens_per_second_best };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return { failed: error.problems[0].found };
  }
}

/** What a script printed last. */
export const lastLine = (printed: string): string => printed.trim().split("\n").at(-1)!;
