/** The PyTorch peer (peer.py): the same training step as a good PyTorch user would write it. */

import { FormatError } from "../formats/error.ts";
import type { ShapeName } from "./shapes.ts";

/** The virtual environment that is made for it, and what goes in. */
const FOLDER = ".venv";
const PYTHON = `${FOLDER}/bin/python`;
const PACKAGES = ["torch==2.13.0", "numpy", "safetensors"];

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

async function run(command: string, args: readonly string[]): Promise<string> {
  const child = new Deno.Command(command, { args: [...args], stdout: "piped", stderr: "piped" });
  let output: Deno.CommandOutput;
  try {
    output = await child.output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new FormatError({
      file: command,
      expected: "a program that can be run",
      found: "none",
      advice: "install python3 with venv, pip and g++ to compare with PyTorch",
    });
  }
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  if (output.success) return decode(output.stdout);
  throw new FormatError({
    file: `${command} ${args.join(" ")}`,
    expected: "to run",
    found: decode(output.stderr).trim().split("\n").slice(-3).join(" / "),
    advice: "see its message",
  });
}

/** Makes the environment once. */
export async function preparePeer(note: (line: string) => void): Promise<void> {
  try {
    await Deno.stat(`${FOLDER}/ready`);
    return;
  } catch {
    note(`making ${FOLDER} with ${PACKAGES.join(", ")}`);
  }
  await run("python3", ["-m", "venv", FOLDER]);
  await run(PYTHON, ["-m", "pip", "install", "-q", "--retries", "0", ...PACKAGES]);
  await Deno.writeTextFile(`${FOLDER}/ready`, `${PACKAGES.join("\n")}\n`);
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
  const lines = (await run(PYTHON, args)).trim().split("\n");
  return JSON.parse(lines[lines.length - 1]) as PeerResult;
}
