/** What recipes run on: rows of numbers, and what is assumed where nothing was measured. */

import type { StageKind } from "../dsl/stages.ts";

/** What the tensors of a training step are stored and multiplied in. */
export type ComputeType = "bf16" | "f32";

/** One device of a kind that can be rented. */
export interface DeviceRow {
  readonly name: string;
  /** FLOP/s as its maker states them: of dense bf16 products, and of f32 on the vector units. */
  readonly peak: Readonly<Record<ComputeType, number>>;
  /** The same of dense TF32 products, where its units for matrices do them and Suture uses them. */
  readonly tf32?: number;
  /** FLOP/s of the best bf16 product that others measured, and who did. */
  readonly products?: { readonly flops: number; readonly from: string };
  /** Bytes a second of its memory. */
  readonly bandwidth: number;
  /** Bytes of memory. */
  readonly memory: number;
  /** Bytes a second, one way, from a device to the others of its machine, as many as `node`. */
  readonly link: number;
  readonly node: number;
  /** The same between machines, for each of their devices. */
  readonly network: number;
  /** Dollars an hour of one device, on demand. */
  readonly price: number;
  /** Where the price is from. */
  readonly priceFrom: string;
}

/** Who measured products: the best of many shapes, in PyTorch, each device with its software. */
const MAMF = "Maximum achievable matmul FLOPS, github.com/stas00/ml-engineering, 2025";

/**
 * Peaks, bandwidths and memory are those of the makers' data sheets, of SXM and OAM modules: AMD
 * Instinct MI300X (163.4 and 1307.4 TFLOP/s, 5.3 TB/s); NVIDIA H100, H200 and A100 80 GB, of which the
 * H100's with all digits are in NVIDIA's Hopper whitepaper (glennklockwood.com/garden/processors/h100
 * has its table); NVIDIA's Ada whitepaper for the RTX 4090, bf16 and TF32 with f32 sums.
 *
 * Links are half of what is stated for both ways: NVLink 3 and 4 (600 and 900 GB/s), seven Infinity
 * Fabric links of an MI300X (128 GB/s each), PCIe 4.0 x16 of an RTX 4090 (63 GB/s). Of networks a DGX
 * A100 has an adapter of 200 Gb/s a device, a DGX H100 one of 400 Gb/s, which is assumed of MI300X
 * too; for RTX 4090 100 Gb/s is assumed.
 *
 * Apple states the M4 Max' bandwidth (546 GB/s with 40 cores), but no FLOP/s: its cores have 128 lanes
 * each and no units for matrices. Their clock others list as 1.58 to 1.8 GHz (16.2 to 18.4 TFLOP/s;
 * huggingface.co/hardware has 18.4): here it is the lowest. Thunderbolt 5 has 80 Gb/s each way.
 */
export const DEVICES: readonly DeviceRow[] = Object.freeze([
  {
    name: "MI300X",
    peak: { bf16: 1307.4e12, f32: 163.4e12 },
    products: { flops: 668.4e12, from: MAMF },
    bandwidth: 5.3e12,
    memory: 192e9,
    link: 448e9,
    node: 8,
    network: 50e9,
    price: 3.49,
    priceFrom: "RunPod's list, 2025; the paper's 72B for under $2,000 means less than $3.70",
  },
  {
    name: "H100",
    peak: { bf16: 989.4e12, f32: 66.9e12 },
    tf32: 494.7e12,
    products: { flops: 794.5e12, from: MAMF },
    bandwidth: 3.35e12,
    memory: 80e9,
    link: 450e9,
    node: 8,
    network: 50e9,
    price: 2.99,
    priceFrom: "Lambda's list for 8 x H100 SXM, 2025",
  },
  {
    name: "H200",
    peak: { bf16: 989.4e12, f32: 66.9e12 },
    tf32: 494.7e12,
    products: { flops: 794.5e12, from: MAMF },
    bandwidth: 4.8e12,
    memory: 141e9,
    link: 450e9,
    node: 8,
    network: 50e9,
    price: 3.79,
    priceFrom: "an assumption: what the larger memory costs beside an H100",
  },
  {
    name: "A100",
    peak: { bf16: 312e12, f32: 19.5e12 },
    tf32: 156e12,
    products: { flops: 271.2e12, from: MAMF },
    bandwidth: 2.039e12,
    memory: 80e9,
    link: 300e9,
    node: 8,
    network: 25e9,
    price: 1.79,
    priceFrom: "Lambda's list for 8 x A100 80 GB SXM, 2025",
  },
  {
    name: "RTX 4090",
    peak: { bf16: 165.2e12, f32: 82.6e12 },
    tf32: 82.6e12,
    bandwidth: 1.008e12,
    memory: 24e9,
    link: 31.5e9,
    node: 8,
    network: 12.5e9,
    price: 0.6,
    priceFrom: "RunPod's on-demand list as deploybase.ai has it, March 2026",
  },
  {
    name: "M4 Max",
    peak: { bf16: 16.2e12, f32: 16.2e12 },
    bandwidth: 546e9,
    memory: 128e9,
    link: 10e9,
    node: 1,
    network: 10e9,
    price: 0,
    priceFrom: "an assumption: it is owned",
  },
]);

/**
 * The share of the bf16 peak that a whole training step reaches, one number a stage. They are
 * fitted to the hours of the paper on 8 x MI300X (plan/published.ts) by `deno task calibrate`, and
 * are assumed for every other device: nothing was measured on those.
 */
export const EFFICIENCY: Readonly<Record<StageKind, number>> = Object.freeze({
  align: 0.089,
  distill: 0.168,
  finetune: 0.204,
  pretrain: 0.204,
});

/** What a plan is made for. */
export interface Fleet {
  /** As people call it: `8x MI300X`. */
  readonly name: string;
  readonly devices: number;
  readonly computes: ComputeType;
  /** FLOP/s that a training step reaches on one device, by stage. */
  readonly speed: Readonly<Record<StageKind, number>>;
  /** Bytes a second of a device's memory; undefined where the speed was measured with it. */
  readonly bandwidth?: number;
  /** Bytes of memory of one device. */
  readonly memory: number;
  /** Dollars an hour of one device; 0 for what is owned. */
  readonly price: number;
  /** What is known of the device; undefined for this machine. */
  readonly row?: DeviceRow;
  /**
   * Whether teacher and student are both held all the time, beside what a stage trains: a run on
   * this machine measures them after every stage.
   */
  readonly holdsModels: boolean;
}

/** Devices of a fleet at most. */
const DEVICE_LIMIT = 65_536;

/** What `fleetOf` takes, for messages. */
export const FLEETS_TEXT = `"this machine", or "N x" and one of ${
  DEVICES.map(({ name }) => name).join(", ")
}, as in "8x ${DEVICES[0].name}"`;

/** Devices by name: `8x MI300X`. Undefined for any other text. */
export function fleetOf(text: string): Fleet & Required<Pick<Fleet, "row">> | undefined {
  const [, count = "1", name] = /^\s*(?:(\d+)\s*[x×]\s*)?([a-z][\w ]+)$/i.exec(text) ?? [];
  const key = name?.trim().replace(/\s+/g, " ").toLowerCase();
  const row = DEVICES.find((row) => row.name.toLowerCase() === key);
  const devices = Number(count);
  if (row === undefined || devices < 1 || devices > DEVICE_LIMIT) return undefined;
  const speed = (kind: StageKind) => EFFICIENCY[kind] * row.peak.bf16;
  return {
    name: `${devices}x ${row.name}`,
    devices,
    computes: "bf16",
    speed: {
      align: speed("align"),
      distill: speed("distill"),
      finetune: speed("finetune"),
      pretrain: speed("pretrain"),
    },
    bandwidth: row.bandwidth,
    memory: row.memory,
    price: row.price,
    row,
    holdsModels: false,
  };
}
