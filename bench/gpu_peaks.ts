/** What a GPU reaches at best, beside what its maker states. */

import type { Device, ProductPrecision } from "../devices/device.ts";
import * as g from "../graph/build.ts";
import type { Tensor } from "../graph/tensor.ts";
import { type DeviceRow, DEVICES } from "../plan/fleets.ts";
import { matrixPeak } from "../plan/roofline.ts";
import type { Peaks } from "./peaks.ts";
import { quickNumbers } from "./quick_values.ts";
import { timeRuns } from "./timing.ts";

/** The peaks of a GPU. */
export interface GpuPeaks extends Peaks {
  readonly device: string;
  /** What its maker states, where it is a device of plan/fleets.ts. */
  readonly datasheet?: {
    readonly name: string;
    /** Of f32 on the vector units, and of dense products in TF32, where it has them, and in bf16. */
    readonly gflops: number;
    readonly tf32Gflops?: number;
    readonly bf16Gflops: number;
    readonly GBs: number;
  };
}

/** How the peaks are measured. */
export interface GpuPeakOptions {
  /**
   * Sides of the product, and bytes of memory, at most: they grow until one run takes a while. By
   * default far more than caches hold.
   */
  readonly side?: number;
  readonly bytes?: number;
  /** Time of one measurement. */
  readonly seconds?: number;
  /** In which numbers the device multiplies matrices: shares are of the peak of these, or of f32. */
  readonly products?: ProductPrecision;
}

/** The sizes that are begun with. */
const LEAST_SIDE = 128;
const LEAST_BYTES = 1 << 18;
/** The largest; WebGPU promises tensors of 128 MiB, and no more. An H100 has 50 MiB of cache. */
const SIDE = 4096;
const BYTES = { cuda: 1 << 28, webgpu: 1 << 27, cpu: 1 << 27 } as const;
/** Multiplications and additions, one after another, of every value of the arithmetic. */
const ROUNDS = 256;
/** Columns of the rows that a plain read sums. */
const READ_COLUMNS = 1024;
/** What names of other devices have after that of one in the table. */
const OTHERS = /\b(PCIe|NVL|Laptop|Max-Q|D)\b/;

/** What is known of a GPU by its name: `NVIDIA H100 80GB HBM3` is an H100, of PCIe it is not. */
export function datasheetOf(description: string): DeviceRow | undefined {
  if (OTHERS.test(description)) return undefined;
  const words = description.replaceAll(/[-_,]/g, " ").toLowerCase();
  return DEVICES.find(({ name }) => ` ${words} `.includes(` ${name.toLowerCase()} `));
}

/** A graph of one size, its inputs by name, all f32. */
interface Measured {
  readonly result: Tensor;
  /** Numbers of each: random ones, for zeros can be faster. */
  readonly inputs: Readonly<Record<string, number>>;
}

/** Seconds of the fastest run at the largest size, and that size. */
async function largest(
  device: Device,
  { from, to, time }: { readonly from: number; readonly to: number; readonly time: number },
  graphOf: (size: number) => Measured,
): Promise<{ size: number; seconds: number }> {
  for (let size = from;; size *= 2) {
    const { result, inputs } = graphOf(size);
    using owned = new DisposableStack();
    const memory = (values: number) => owned.adopt(device.allocate(4 * values), device.free);
    const bound = Object.fromEntries(
      Object.entries(inputs).map(([name, values], i) => {
        const own = memory(values);
        device.write(own, quickNumbers(values, i + 1, -1, 1));
        return [name, own];
      }),
    );
    const out = memory(result.shape.reduce((n, m) => n * m, 1));
    const executable = owned.adopt(
      device.compile([result], { inputs: bound, results: [out] }),
      (own) => own.free(),
    );
    executable.run();
    const isLast = 2 * size > to;
    const seconds = await timeRuns(device, executable.run, out, isLast ? time : 0);
    if (isLast || seconds > time) return { size, seconds };
  }
}

/** Measures a GPU's peaks in a few seconds, whatever its speed. */
export async function measureGpuPeaks(
  device: Device,
  options: GpuPeakOptions = {},
): Promise<GpuPeaks> {
  const { side = SIDE, bytes = BYTES[device.kind], seconds: time = 0.25 } = options;
  const { products = "f32" } = options;
  const row = (values: number) => [values / READ_COLUMNS, READ_COLUMNS];
  const memory = { from: LEAST_BYTES, to: bytes, time };
  const product = await largest(device, { from: LEAST_SIDE, to: side, time }, (n) => ({
    result: g.matmul(g.input("a", [n, n]), g.input("b", [n, n])),
    inputs: { a: n * n, b: n * n },
  }));
  const arithmetic = await largest(device, { ...memory, to: bytes / 8 }, (size) => {
    const values = size / 4;
    const [a, b] = [g.input("a", [1]), g.input("b", [1])];
    let x = g.input("x", [values]);
    for (let i = 0; i < ROUNDS; i++) x = g.add(g.mul(x, a), b);
    return { result: x, inputs: { a: 1, b: 1, x: values } };
  });
  const read = await largest(device, memory, (size) => ({
    result: g.sum(g.input("x", row(size / 4)), [-1]),
    inputs: { x: size / 4 },
  }));
  const copied = await largest(device, memory, (size) => ({
    result: g.neg(g.input("x", [size / 4])),
    inputs: { x: size / 4 },
  }));
  const fmaGflops = 2 * ROUNDS * arithmetic.size / 4 / arithmetic.seconds / 1e9;
  const productGflops = 2 * product.size ** 3 / product.seconds / 1e9;
  const readGBs = read.size / read.seconds / 1e9;
  const copyGBs = 2 * copied.size / copied.seconds / 1e9;
  const known = datasheetOf(device.description);
  const stated = known && {
    name: known.name,
    gflops: known.peak.f32 / 1e9,
    ...(known.tf32 !== undefined && { tf32Gflops: known.tf32 / 1e9 }),
    bf16Gflops: known.peak.bf16 / 1e9,
    GBs: known.bandwidth / 1e9,
  };
  return {
    device: device.description,
    fmaGflops,
    productGflops,
    machineGflops: Math.max(
      fmaGflops,
      productGflops,
      known === undefined ? 0 : matrixPeak(known, products) / 1e9,
    ),
    readGBs,
    copyGBs,
    machineGBs: Math.max(readGBs, copyGBs, stated?.GBs ?? 0),
    ...(stated && { datasheet: stated }),
  };
}
