/** How the cost of training and decoding grows: with context, position, width and depth. */

import type { Device } from "../devices/device.ts";
import { createStore, layoutOf, storeBindings, storeInputs } from "../devices/store.ts";
import { openSession } from "../infer/session.ts";
import type { DecoderConfig } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import { initialValues } from "../models/initial_values.ts";
import { decoderConfig, type LayerMixer, uniform } from "./shapes.ts";
import { median } from "./timing.ts";
import { benchStep, type StepOptions } from "./train.ts";

/** One measurement: time and operations of a token at one size. */
export interface GrowthPoint {
  /** The size: tokens of context, position, width or layers. */
  readonly x: number;
  readonly seconds: number;
  readonly flops: number;
}

/** How one thing grows. */
export interface GrowthSeries {
  readonly name: string;
  readonly points: readonly GrowthPoint[];
}

/** How several things grow with one size. */
export interface Growth {
  /** The size: `context`. */
  readonly size: "context" | "position" | "width" | "depth";
  readonly title: string;
  readonly series: readonly GrowthSeries[];
}

/** The sizes that are measured. */
export interface GrowthSizes {
  /** Tokens of a step over contexts: a multiple of all of them. */
  readonly tokens: number;
  readonly contexts: readonly number[];
  readonly positions: readonly number[];
  readonly widths: readonly number[];
  readonly depths: readonly number[];
  /** Steps that are timed at most. */
  readonly steps: number;
}

const doublings = (from: number, to: number): number[] =>
  from > to ? [] : [from, ...doublings(2 * from, to)];

/** All sizes, and fewer for a quick look. */
export const SIZES: GrowthSizes = {
  tokens: 16384,
  contexts: doublings(256, 16384),
  positions: doublings(256, 131072),
  widths: doublings(64, 512),
  depths: doublings(1, 16),
  steps: 5,
};
export const QUICK_SIZES: GrowthSizes = {
  tokens: 4096,
  contexts: doublings(256, 4096),
  positions: doublings(256, 32768),
  widths: doublings(64, 256),
  depths: doublings(1, 8),
  steps: 3,
};

/** Width and layers where they are not what grows; heads have 64 values, as everywhere. */
const WIDTH = 128;
const LAYERS = 2;
/** A small one, so that the head does not hide what the layers do. */
const VOCABULARY = 512;

function config(width: number, layers: number): DecoderConfig {
  const heads = width / 64;
  const keyValueHeads = Math.max(1, heads / 2);
  return decoderConfig([width, 2.75 * width, layers, heads, keyValueHeads, 64, VOCABULARY]);
}

/** Time after which no further step begins. */
const SECONDS = 1;

/** Names of series; a mixer has one in all drawings. */
const NAMES: Readonly<Record<LayerMixer, string>> = {
  attention: "attention",
  rwkv6: "RAD-RWKV6",
  rwkv7: "RAD-RWKV7",
};
const WHOLE_STAGE = "stage 2, teacher included";

/** Time and operations of a token of a step. */
async function stepPoint(
  device: Device,
  x: number,
  own: DecoderConfig,
  mixer: LayerMixer,
  { stage, batch, context, steps }: Pick<StepOptions, "stage" | "batch" | "context" | "steps">,
): Promise<GrowthPoint> {
  const { secondsPerStep, flops } = await benchStep(device, {
    teacher: uniform(own, "attention"),
    student: uniform(own, mixer),
    stage,
    batch,
    context,
    steps,
    seconds: SECONDS,
  });
  const tokens = batch * context;
  return { x, seconds: secondsPerStep / tokens, flops: flops / tokens };
}

async function series(
  name: string,
  sizes: readonly number[],
  measure: (x: number) => Promise<GrowthPoint>,
): Promise<GrowthSeries> {
  const points: GrowthPoint[] = [];
  for (const x of sizes) points.push(await measure(x));
  return { name, points };
}

/**
 * A token of a training step by context, of as many tokens at every context: the student alone, with
 * each mixer, and stage 2 with its teacher.
 */
export async function contextGrowth(
  device: Device,
  { tokens, contexts, steps }: GrowthSizes,
): Promise<Growth> {
  const at = (mixer: LayerMixer, stage: 2 | 3) => (context: number) =>
    stepPoint(device, context, config(WIDTH, LAYERS), mixer, {
      stage,
      batch: tokens / context,
      context,
      steps,
    });
  return {
    size: "context",
    title: "a token of a training step",
    series: [
      await series(NAMES.attention, contexts, at("attention", 3)),
      await series(NAMES.rwkv6, contexts, at("rwkv6", 3)),
      await series(NAMES.rwkv7, contexts, at("rwkv7", 3)),
      await series(WHOLE_STAGE, contexts, at("rwkv7", 2)),
    ],
  };
}

/** Tokens that are decoded at a position: the first ones warm up, the median of the rest counts. */
const DECODED = 32;
const DECODED_FIRST = 8;

/** A token's decoding just before a position. */
async function decodePoint(
  device: Device,
  position: number,
  mixer: LayerMixer,
): Promise<GrowthPoint> {
  let flops = 0;
  const counting: Device = {
    ...device,
    compile: (results, bindings) => {
      const executable = device.compile(results, bindings);
      flops = executable.flops;
      return executable;
    },
  };
  const spec = uniform(config(WIDTH, LAYERS), mixer);
  const parameters = modelParameters(spec);
  const store = createStore(device, layoutOf(parameters));
  for (const parameter of parameters) store.write(parameter.name, initialValues(parameter, 1));
  const inputs = storeInputs(store.layout, "");
  const model = { spec, device: counting, inputs, bindings: storeBindings(store, "") };
  const session = openSession(model, 1, position - DECODED);
  const seconds: number[] = [];
  let ids: ArrayLike<number> = [0];
  for (let i = 0; i < DECODED; i++) {
    const start = performance.now();
    ids = await session.advanceGreedily([ids]);
    if (i >= DECODED_FIRST) seconds.push((performance.now() - start) / 1000);
  }
  session.free();
  store.free();
  return { x: position, seconds: median(seconds), flops };
}

/** A token that is decoded, by its position. */
export async function positionGrowth(device: Device, { positions }: GrowthSizes): Promise<Growth> {
  const at = (mixer: LayerMixer) => (x: number) => decodePoint(device, x, mixer);
  return {
    size: "position",
    title: "a token that is decoded",
    series: [
      await series(NAMES.attention, positions, at("attention")),
      await series(NAMES.rwkv6, positions, at("rwkv6")),
      await series(NAMES.rwkv7, positions, at("rwkv7")),
    ],
  };
}

/** Batch and context of steps by width and by depth. */
const FIXED = { stage: 2, batch: 4, context: 256 } as const;

/** A token of a stage-2 step by the model's width. */
export async function widthGrowth(device: Device, { widths, steps }: GrowthSizes): Promise<Growth> {
  const at = (mixer: LayerMixer) => (width: number) =>
    stepPoint(device, width, config(width, LAYERS), mixer, { ...FIXED, steps });
  return {
    size: "width",
    title: "a token of a stage-2 step",
    series: [
      await series(NAMES.rwkv6, widths, at("rwkv6")),
      await series(NAMES.rwkv7, widths, at("rwkv7")),
    ],
  };
}

/** A token of a stage-2 step by the number of layers. */
export async function depthGrowth(device: Device, { depths, steps }: GrowthSizes): Promise<Growth> {
  const at = (mixer: LayerMixer) => (depth: number) =>
    stepPoint(device, depth, config(WIDTH, depth), mixer, { ...FIXED, steps });
  return {
    size: "depth",
    title: "a token of a stage-2 step",
    series: [
      await series(NAMES.rwkv6, depths, at("rwkv6")),
      await series(NAMES.rwkv7, depths, at("rwkv7")),
    ],
  };
}

/**
 * The exponent e of y ~ xᵉ by least squares of the logarithms, over the upper half of the sizes,
 * three at least: where what does not grow with the size weighs least.
 */
export function exponent(points: readonly { readonly x: number; readonly y: number }[]): number {
  const upper = points.slice(Math.min(points.length >> 1, Math.max(0, points.length - 3)));
  const [xs, ys] = [upper.map(({ x }) => Math.log(x)), upper.map(({ y }) => Math.log(y))];
  const mean = (list: readonly number[]) => list.reduce((a, b) => a + b, 0) / list.length;
  const [mx, my] = [mean(xs), mean(ys)];
  const over = (f: (i: number) => number) => xs.reduce((sum, _, i) => sum + f(i), 0);
  return over((i) => (xs[i] - mx) * (ys[i] - my)) / over((i) => (xs[i] - mx) ** 2);
}
