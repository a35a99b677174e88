/**
 * Gradient of the RWKV-6 recurrence on a GPU, token by token from the last.
 *
 * With G = dS + rᵀdy: dr = S·dy, dk = G·v, dv = k·G, dw = Σ over values of G⊙S before; dS before is
 * diag(w)·G. The states of a chunk are computed again from the one that was kept before it.
 */

import { WKV_CHUNK } from "../../graph/build.ts";
import { fma, mul } from "../language.ts";
import { elementAt, type HeadStrides } from "./heads.ts";
import type { GpuKernel } from "./kernel.ts";
import { type Float, gpuKernel, type Index, type OperandTypes, type Place } from "./language.ts";
import { eachSum, TILE_THREADS } from "./products.ts";
import {
  chunksOf,
  chunkState,
  eachTokenBack,
  type GpuWkvShape,
  groupHead,
  ownRows,
  rowsByName,
} from "./recurrence.ts";
import {
  blockSums,
  foldRoom,
  foldState,
  loadState,
  ofColumns,
  ofRows,
  stateOf,
  storeState,
  tokenOf,
} from "./state.ts";
import { stepWkv6 } from "./wkv6.ts";

/** What the kernel is made for: `dy` tells how the gradient of y lies. */
export interface GpuWkv6GradientShape extends GpuWkvShape<"r" | "w" | "k" | "v"> {
  readonly dy: HeadStrides;
}

/** Operands r, w, k, v, chunk states, dy, dstate → gradients of the first four and the state. */
export function wkv6Gradient(shape: GpuWkv6GradientShape): GpuKernel {
  const { batch, time, heads, width } = shape;
  return {
    key: `wkv6_gradient ${JSON.stringify(shape)}`,
    code: () => wkv6GradientCode(shape),
    groups: batch * heads,
    flops: (12 + 3 * WKV_CHUNK / 2) * batch * time * heads * width * width,
    bytes: 4 * batch * heads * width * (9 * time + (2 + chunksOf(time)) * width),
  };
}

function wkv6GradientCode(shape: GpuWkv6GradientShape) {
  const { time, width } = shape;
  const operands = {
    ...{ r: "f32", w: "f32", k: "f32", v: "f32", states: "f32", dy: "f32", dLast: "f32" },
    ...{ dr: "+f32", dw: "+f32", dk: "+f32", dv: "+f32", dState: "+f32" },
  } as const satisfies OperandTypes;
  return gpuKernel("wkv6_gradient", TILE_THREADS, operands, (k, places) => {
    const head = groupHead(k, shape);
    const layouts = { ...shape.inputs, dy: shape.dy };
    const { r, w, k: key, v, dy } = rowsByName(k, places, layouts, head);
    const own = (place: Place<"f32">) => {
      const rows = ownRows(k, place, shape, head);
      return (token: Index) => (index: Index, sum: Float) =>
        k.write(place, elementAt(rows, token, index), sum);
    };
    const [dr, dw, dk, dv] = [places.dr, places.dw, places.dk, places.dv].map(own);
    const [state, gradient] = [stateOf(k, width), stateOf(k, width)];
    const room = foldRoom(k, width);
    loadState(k, gradient, places.dLast, head.state);
    const step = (token: Index) => {
      const [ws, keys] = [w, key].map((of) => ofRows(k, state, tokenOf(k, of, token)));
      const vs = ofColumns(k, state, tokenOf(k, v, token));
      stepWkv6(k, state, ws, keys, vs);
      return { ws, keys, vs };
    };
    eachTokenBack(k, time, (chunk, first, token) => {
      loadState(k, state, places.states, chunkState(k, time, width, chunk));
      k.for(first, token, 1, (earlier) => void step(earlier));
      const rs = ofRows(k, state, tokenOf(k, r, token));
      const dys = ofColumns(k, state, tokenOf(k, dy, token));
      eachSum(gradient.sums, (sum, i, j) => k.set(sum, fma(rs[i], dys[j], sum)));
      const g = gradient.sums.values;
      const dwParts = blockSums(k, state, "rows", (before, i, j) => [g[i][j], before]);
      const { ws, keys, vs } = step(token);
      const drParts = blockSums(k, state, "rows", (after, _, j) => [after, dys[j]]);
      const dkParts = blockSums(k, gradient, "rows", (sum, _, j) => [sum, vs[j]]);
      const dvParts = blockSums(k, gradient, "columns", (sum, i) => [keys[i], sum]);
      foldState(k, room, state, "rows", [
        { parts: drParts, give: dr(token) },
        { parts: dwParts, give: dw(token) },
        { parts: dkParts, give: dk(token) },
      ]);
      foldState(k, room, state, "columns", [{ parts: dvParts, give: dv(token) }]);
      eachSum(gradient.sums, (sum, i) => k.set(sum, mul(ws[i], sum)));
    });
    storeState(k, gradient, places.dState, head.state);
  });
}
