/**
 * The RWKV-6 recurrence on a GPU, token by token: S ← diag(w)·S + kᵀv, y = r·S per head, S [key,
 * value] in the registers of a group.
 */

import { fma, mul } from "../language.ts";
import { elementAt } from "./heads.ts";
import type { GpuKernel } from "./kernel.ts";
import {
  type Float,
  type GpuBlock,
  gpuKernel,
  type Index,
  type OperandTypes,
  type Place,
} from "./language.ts";
import { eachSum, TILE_THREADS } from "./products.ts";
import {
  atChunks,
  chunksOf,
  chunkState,
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
  type State,
  stateOf,
  storeState,
  tokenOf,
} from "./state.ts";

/** What a kernel of the RWKV-6 recurrence is made for. */
export interface GpuWkv6Shape extends GpuWkvShape<"r" | "w" | "k" | "v"> {
  /** Whether the states before every chunk are written too. */
  readonly keepStates: boolean;
}

/** S ← diag(w)·S + kᵀv, with w and k by rows and v by columns. */
export function stepWkv6(
  k: GpuBlock,
  { sums }: State,
  w: readonly Float[],
  key: readonly Float[],
  v: readonly Float[],
): void {
  eachSum(sums, (sum, r, c) => k.set(sum, fma(key[r], v[c], mul(w[r], sum))));
}

/** Operands r, w, k, v, state → y, last state and, where they are kept, the chunk states. */
export function wkv6(shape: GpuWkv6Shape): GpuKernel {
  const { batch, time, heads, width, keepStates } = shape;
  const states = keepStates ? chunksOf(time) : 0;
  return {
    key: `wkv6 ${JSON.stringify(shape)}`,
    code: () => wkv6Code(shape),
    groups: batch * heads,
    flops: 5 * batch * time * heads * width * width,
    bytes: 4 * batch * heads * width * (5 * time + (2 + states) * width),
  };
}

function wkv6Code(shape: GpuWkv6Shape) {
  const { time, width, keepStates } = shape;
  const operands: OperandTypes = {
    ...{ r: "f32", w: "f32", k: "f32", v: "f32", state: "f32", y: "+f32", last: "+f32" },
    ...(keepStates ? { states: "+f32" } : {}),
  };
  return gpuKernel("wkv6", TILE_THREADS, operands, (k, all) => {
    const places = all as Readonly<Record<string, Place<"f32">>>;
    const head = groupHead(k, shape);
    const { r, w, k: key, v } = rowsByName(k, places, shape.inputs, head);
    const y = ownRows(k, places.y, shape, head);
    const state = stateOf(k, width);
    const room = foldRoom(k, width);
    loadState(k, state, places.state, head.state);
    k.for(0, time, 1, (token) => {
      if (keepStates) {
        atChunks(
          k,
          token,
          (chunk) => storeState(k, state, places.states, chunkState(k, time, width, chunk)),
        );
      }
      const rows = [w, key, r].map((of) => ofRows(k, state, tokenOf(k, of, token)));
      stepWkv6(k, state, rows[0], rows[1], ofColumns(k, state, tokenOf(k, v, token)));
      const parts = blockSums(k, state, "columns", (sum, i) => [rows[2][i], sum]);
      const give = (column: Index, sum: Float) =>
        k.write(y.place, elementAt(y, token, column), sum);
      foldState(k, room, state, "columns", [{ parts, give }]);
    });
    storeState(k, state, places.last, head.state);
  });
}
