/** The PyTorch peer (peer.py): the same training step as a good PyTorch user would write it. */

import { runPython } from "./python.ts";
import type { ShapeName } from "./shapes.ts";

/** How the peer does what PyTorch has no kernel for. */
export interface PeerOptions {
  readonly shape: ShapeName;
  readonly stage: 1 | 2;
  /** WKV7 as a C++ kernel, or as PyTorch operations by chunks. */
  readonly wkv: "native" | "chunked";
  readonly compile?: boolean;
  readonly bf16?: boolean;
  readonly threads: number;
  /** 0 runs for about 20 seconds. */
  readonly steps: number;
}

/** What the peer prints. */
export interface PeerResult {
  readonly tokens_per_second: number;
  readonly [key: string]: unknown;
}

/** Runs the peer once. */
export async function runPeer(options: PeerOptions): Promise<PeerResult> {
  const { shape, stage, wkv, compile, bf16, threads, steps } = options;
  const args = [
    ...["bench/peer.py", "--json", "--shape", shape, "--stage", `${stage}`, "--wkv", wkv],
    ...["--threads", `${threads}`, "--steps", `${steps}`],
    ...(compile ? ["--compile"] : []),
    ...(bf16 ? ["--bf16"] : []),
  ];
  const lines = (await runPython(args)).trim().split("\n");
  return JSON.parse(lines[lines.length - 1]) as PeerResult;
}
