/** GFLOPS of matrix products of the shapes that training uses. */

import type { Device } from "../devices/device.ts";
import * as g from "../graph/build.ts";
import { lastLine, type PeerMachine } from "./peer.ts";
import { runPython } from "./python.ts";
import { timeRuns } from "./timing.ts";

/** One product: [m, k]·[k, n], operands transposed as in training. */
export interface MatmulBench {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** From the fastest of several batches of runs. */
  readonly seconds: number;
  readonly gflops: number;
}

/** m, n, k, and which operands are stored transposed. */
type Product = readonly [m: number, n: number, k: number, boolean, boolean];

/** Those of tiny's and small's steps, and of smollm's: projection, MLP, their gradients, head. */
const PRODUCTS: readonly Product[] = [
  [4096, 128, 128, false, true],
  [4096, 352, 128, false, true],
  [4096, 128, 352, false, true],
  [4096, 128, 352, false, false],
  [352, 128, 4096, true, false],
  [2048, 2048, 128, false, true],
  [2048, 704, 256, false, true],
  [1024, 1024, 1024, false, false],
  [256, 576, 576, false, true],
  [256, 1536, 576, false, true],
  [256, 576, 1536, false, true],
  [1536, 576, 256, true, false],
  [256, 4096, 576, false, true],
];

/** Time of a product, of whose batches the fastest counts. */
const SECONDS = 0.2;

/** Measures all products. */
export async function benchMatmul(device: Device): Promise<MatmulBench[]> {
  const rows: MatmulBench[] = [];
  for (const [m, n, k, transposeA, transposeB] of PRODUCTS) {
    const a = g.input("a", transposeA ? [k, m] : [m, k]);
    const b = g.input("b", transposeB ? [n, k] : [k, n]);
    const memory = { a: device.allocate(4 * m * k), b: device.allocate(4 * k * n) };
    const result = device.allocate(4 * m * n);
    device.write(memory.a, new Float32Array(m * k).fill(0.5));
    device.write(memory.b, new Float32Array(k * n).fill(0.25));
    const executable = device.compile([g.matmul(a, b, { transposeA, transposeB })], {
      inputs: memory,
      results: [result],
    });
    executable.run();
    const seconds = await timeRuns(device, executable.run, result, SECONDS);
    rows.push({ m, n, k, seconds, gflops: 2 * m * n * k / seconds / 1e9 });
    executable.free();
    [memory.a, memory.b, result].forEach(device.free);
  }
  return rows;
}

/** GFLOPS of the same products in PyTorch, in their order. @throws FormatError */
export async function matmulPeer(
  { threads, device, python }: PeerMachine,
): Promise<readonly number[]> {
  const args = ["bench/matmul_peer.py", `${threads}`, JSON.stringify(PRODUCTS), device];
  return JSON.parse(lastLine(await runPython(args, python)));
}
