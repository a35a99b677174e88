/** The RWKV recurrences on a GPU: a few tokens one by one, more of them by chunks (chunks.ts). */

import { WKV_CHUNK } from "../../../graph/build.ts";
import type { StepKernel, StepKernels } from "../../program.ts";
import type { HeadStrides } from "../heads.ts";
import type { GpuKernel } from "../kernel.ts";
import { allChunks, type GpuChunkedShape, removes, vectorsOf } from "./chunks.ts";
import { keyInputs, wkvKeys } from "./keys.ts";
import { wkvScan } from "./scan.ts";
import { scoreElements } from "./scores.ts";
import { gramsOf, linesOf, wkvStateProducts } from "./state_products.ts";
import { wkvTokens } from "./tokens.ts";
import { wkvValues } from "./values.ts";
import { wkv6 } from "./wkv6.ts";
import { wkv7 } from "./wkv7.ts";

/** The most tokens that go through the state one by one, in one kernel: half a chunk. */
const FEW_TOKENS = WKV_CHUNK / 2;

/** Operands of a step by name, numbered in order; then pieces of scratch memory, by elements. */
function numbered<Name extends string>(
  operands: readonly Name[],
  scratch: Readonly<Partial<Record<Name, number>>>,
) {
  const pieces = Object.keys(scratch) as Name[];
  const names = [...operands, ...pieces];
  return {
    scratch: pieces.map((piece) => 4 * scratch[piece]!),
    step: (
      part: string,
      kernel: GpuKernel,
      reads: readonly Name[],
      writes: readonly Name[],
    ): StepKernel<GpuKernel> => ({
      ...{ part, kernel, firstWritten: reads.length },
      operands: [...reads, ...writes].map((name) => names.indexOf(name)),
    }),
  };
}

/**
 * Operands: the inputs (r, w, k, v and, for RWKV-7, κ and a), state → y, last state and, where they are
 * kept, the states before every chunk.
 */
export function wkvForward(
  shape: GpuChunkedShape & { readonly keepStates: boolean },
): GpuKernel | StepKernels<GpuKernel> {
  const { keepStates, ...own } = shape;
  const { width, time, inputs } = own;
  if (time <= FEW_TOKENS) {
    const { r, w, k, v, kappa, a } = inputs;
    return kappa !== undefined && a !== undefined
      ? wkv7({ ...shape, inputs: { r, w, k, v, kappa, a } })
      : wkv6({ ...shape, inputs: { r, w, k, v } });
  }
  const names = Object.keys(inputs);
  const states = keepStates ? ["states"] : [];
  const tokens = allChunks(own) * vectorsOf(own) * width;
  const { scratch, step } = numbered([...names, "state", "y", "last", ...states], {
    ...{ turned: tokens, rows: tokens, decays: allChunks(own) * width, local: tokens },
  });
  const made = ["turned", "rows", "decays", "local"];
  return {
    scratch,
    kernels: [
      step("tokens", wkvTokens(own, "forward"), names, made),
      step("scan", wkvScan(own, { kind: "forward", keepStates }), [...made, "v", "state"], [
        ...["y", "last"],
        ...states,
      ]),
    ],
  };
}

/**
 * Operands: the inputs, chunk states, dy, dstate → gradients of the inputs and of the state. `dy` tells
 * how the gradient of y lies.
 */
export function wkvGradient(
  { dy, ...shape }: GpuChunkedShape & { readonly dy: HeadStrides },
): StepKernels<GpuKernel> {
  const { width, inputs } = shape;
  const names = Object.keys(inputs);
  const chunks = allChunks(shape);
  const vectors = chunks * vectorsOf(shape) * width;
  const tokens = chunks * WKV_CHUNK * width;
  const removing = <T>(...all: T[]): T[] => removes(shape) ? all : [];
  const { scratch, step } = numbered(
    [...names, "states", "dy", "dLast", ...names.map((name) => `d${name}`), "dState"],
    {
      ...{ turned: vectors, rows: vectors, decays: chunks * width },
      ...{ scores: chunks * scoreElements(shape), asked: vectors, dStates: chunks * width * width },
      ...{ products: linesOf(shape) * tokens, dots: chunks * width },
      grams: chunks * gramsOf(shape) * WKV_CHUNK * WKV_CHUNK,
      ...Object.fromEntries(removing(["local", tokens], ["solved", 2 * tokens])),
    },
  );
  const keys = keyInputs(shape);
  return {
    scratch,
    kernels: [
      step("tokens", wkvTokens(shape, "gradient"), names, [
        ...["turned", "rows", "decays", "scores"],
        ...removing("local"),
      ]),
      step("scan", wkvScan(shape, { kind: "gradient", dy }), [
        ...["turned", "rows", "decays", "dy", "dLast"],
      ], ["asked", "dStates", "dState"]),
      step("values", wkvValues(shape, dy), [
        ...["scores", "asked", ...removing("rows", "local", "states"), "dy"],
      ], ["dv", ...removing("solved")]),
      step("products", wkvStateProducts(shape, dy), [
        ...["states", "dStates", "v", "dy", ...removing("solved")],
      ], ["products", "dots", "grams"]),
      step("keys", wkvKeys(shape), [...keys, "products", "dots", "grams"], [
        ...keys.map((name) => `d${name}`),
      ]),
    ],
  };
}
