/**
 * The RWKV-7 recurrence on a GPU, token by token: u = S·κᵀ, S ← S·diag(w) − u(a⊙κ) + vᵀk, y = S·r per
 * head, S [value, key] in the registers of a group.
 */

import { fma, mul, neg } from "../language.ts";
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

/** What a kernel of the RWKV-7 recurrence is made for. */
export interface GpuWkv7Shape extends GpuWkvShape<"r" | "w" | "k" | "v" | "kappa" | "a"> {
  /** Whether the states before every chunk are written too. */
  readonly keepStates: boolean;
}

/** One token's part in the state: by columns w, k and a⊙κ, by rows v and u. */
export interface Wkv7Token {
  readonly w: readonly Float[];
  readonly key: readonly Float[];
  readonly given: readonly Float[];
  readonly v: readonly Float[];
  readonly u: readonly Float[];
}

/** S ← S·diag(w) − u(a⊙κ) + vᵀk. */
export function stepWkv7(k: GpuBlock, { sums }: State, token: Wkv7Token): void {
  const { w, key, given, v, u } = token;
  eachSum(sums, (sum, r, c) => {
    const kept = mul(sum, w[c]);
    k.set(sum, fma(v[r], key[c], fma(neg(u[r]), given[c], kept)));
  });
}

/** Operands r, w, k, v, kappa, a, state → y, last state and, where they are kept, the chunk states. */
export function wkv7(shape: GpuWkv7Shape): GpuKernel {
  const { batch, time, heads, width, keepStates } = shape;
  const states = keepStates ? chunksOf(time) : 0;
  return {
    key: `wkv7 ${JSON.stringify(shape)}`,
    code: () => wkv7Code(shape),
    groups: batch * heads,
    flops: 9 * batch * time * heads * width * width,
    bytes: 4 * batch * heads * width * (7 * time + (2 + states) * width),
  };
}

function wkv7Code(shape: GpuWkv7Shape) {
  const { time, width, keepStates } = shape;
  const operands: OperandTypes = {
    ...{
      r: "f32",
      w: "f32",
      k: "f32",
      v: "f32",
      kappa: "f32",
      a: "f32",
      state: "f32",
      y: "+f32",
      last: "+f32",
    },
    ...(keepStates ? { states: "+f32" } : {}),
  };
  return gpuKernel("wkv7", TILE_THREADS, operands, (k, all) => {
    const places = all as Readonly<Record<string, Place<"f32">>>;
    const head = groupHead(k, shape);
    const { r, w, k: key, v, kappa, a } = rowsByName(k, places, shape.inputs, head);
    const y = ownRows(k, places.y, shape, head);
    const state = stateOf(k, width);
    const room = foldRoom(k, width);
    const u = k.shared("f32", width);
    loadState(k, state, places.state, head.state);
    k.for(0, time, 1, (token) => {
      if (keepStates) {
        atChunks(
          k,
          token,
          (chunk) => storeState(k, state, places.states, chunkState(k, time, width, chunk)),
        );
      }
      const [ws, keys, kappas, as, rs] = [w, key, kappa, a, r].map((of) =>
        ofColumns(k, state, tokenOf(k, of, token))
      );
      const asked = blockSums(k, state, "rows", (sum, _, c) => [kappas[c], sum]);
      const keep = (row: Index, sum: Float) => k.write(u, row, sum);
      foldState(k, room, state, "rows", [{ parts: asked, give: keep }]);
      stepWkv7(k, state, {
        ...{ w: ws, key: keys, given: as.map((own, c) => k.let(mul(own, kappas[c]))) },
        v: ofRows(k, state, tokenOf(k, v, token)),
        u: ofRows(k, state, (row) => k.read(u, row)),
      });
      const parts = blockSums(k, state, "rows", (sum, _, c) => [rs[c], sum]);
      const give = (row: Index, sum: Float) => k.write(y.place, elementAt(y, token, row), sum);
      foldState(k, room, state, "rows", [{ parts, give }]);
    });
    storeState(k, state, places.last, head.state);
  });
}
