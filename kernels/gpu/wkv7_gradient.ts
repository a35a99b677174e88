/**
 * Gradient of the RWKV-7 recurrence on a GPU, token by token from the last.
 *
 * With G = dS + dyᵀr, b = a⊙κ and u = S before·κ: dr = dy·S, dv = G·k, dk = v·G, db = −u·G,
 * du = −G·b, dw = Σ over values of G⊙S before, dκ = du·S before + db⊙a, da = db⊙κ; dS before is
 * G·diag(w) + duᵀκ. The states of a chunk are computed again from the one that was kept before it, once
 * for every u, and then for every token with the u that are known.
 */

import { WKV_CHUNK } from "../../graph/build.ts";
import { add, fma, i32, mul, neg, sub } from "../language.ts";
import { elementAt, type HeadStrides } from "./heads.ts";
import type { GpuKernel } from "./kernel.ts";
import {
  f32,
  type Float,
  gpuKernel,
  type Index,
  type OperandTypes,
  type Place,
} from "./language.ts";
import { eachSum, TILE_THREADS } from "./products.ts";
import {
  chunksOf,
  chunkState,
  eachChunkBack,
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
import { stepWkv7 } from "./wkv7.ts";

/** What the kernel is made for: `dy` tells how the gradient of y lies. */
export interface GpuWkv7GradientShape extends GpuWkvShape<"r" | "w" | "k" | "v" | "kappa" | "a"> {
  readonly dy: HeadStrides;
}

/**
 * Operands r, w, k, v, kappa, a, chunk states, dy, dstate → gradients of the first six and the
 * state.
 */
export function wkv7Gradient(shape: GpuWkv7GradientShape): GpuKernel {
  const { batch, time, heads, width } = shape;
  return {
    key: `wkv7_gradient ${JSON.stringify(shape)}`,
    code: () => wkv7GradientCode(shape),
    groups: batch * heads,
    flops: (27 + 5 * WKV_CHUNK / 2) * batch * time * heads * width * width,
    bytes: 4 * batch * heads * width * (13 * time + (2 + chunksOf(time)) * width),
  };
}

const OPERANDS = {
  ...{ r: "f32", w: "f32", k: "f32", v: "f32", kappa: "f32", a: "f32", states: "f32" },
  ...{ dy: "f32", dLast: "f32", dr: "+f32", dw: "+f32", dk: "+f32", dv: "+f32" },
  ...{ dkappa: "+f32", da: "+f32", dState: "+f32" },
} as const satisfies OperandTypes;

function wkv7GradientCode(shape: GpuWkv7GradientShape) {
  const { time, width } = shape;
  return gpuKernel("wkv7_gradient", TILE_THREADS, OPERANDS, (k, places) => {
    const head = groupHead(k, shape);
    const layouts = { ...shape.inputs, dy: shape.dy };
    const { r, w, k: key, v, kappa, a, dy } = rowsByName(k, places, layouts, head);
    const own = (place: Place<"f32">) => {
      const rows = ownRows(k, place, shape, head);
      return (token: Index) => (index: Index, sum: Float) =>
        k.write(place, elementAt(rows, token, index), sum);
    };
    const { dr, dw, dk, dv, dkappa, da } = {
      ...{ dr: own(places.dr), dw: own(places.dw), dk: own(places.dk), dv: own(places.dv) },
      ...{ dkappa: own(places.dkappa), da: own(places.da) },
    };
    const [state, gradient] = [stateOf(k, width), stateOf(k, width)];
    const room = foldRoom(k, width);
    const asked = k.shared("f32", WKV_CHUNK * width);
    const solved = k.shared("f32", width);
    const uAt = (first: Index, token: Index, row: Index) =>
      add(mul(sub(token, first), i32(width)), row);
    const columnsOf = (token: Index) => {
      const [ws, keys, kappas, as] = [w, key, kappa, a].map((of) =>
        ofColumns(k, state, tokenOf(k, of, token))
      );
      return { ws, keys, kappas, as, given: as.map((x, c) => k.let(mul(x, kappas[c]))) };
    };
    const rowsOf = (first: Index, token: Index) => ({
      vs: ofRows(k, state, tokenOf(k, v, token)),
      us: ofRows(k, state, (row) => k.read(asked, uAt(first, token, row))),
    });
    /** Moves the state on by a token whose u is known. */
    const step = (first: Index, token: Index) => {
      const columns = columnsOf(token);
      const rows = rowsOf(first, token);
      const { ws, keys, given } = columns;
      stepWkv7(k, state, { w: ws, key: keys, given, v: rows.vs, u: rows.us });
      return { ...columns, ...rows };
    };

    loadState(k, gradient, places.dLast, head.state);
    eachChunkBack(k, time, (chunk, first, end) => {
      const kept = chunkState(k, time, width, chunk);
      loadState(k, state, places.states, kept);
      k.for(first, end, 1, (token) => {
        const kappas = ofColumns(k, state, tokenOf(k, kappa, token));
        const parts = blockSums(k, state, "rows", (sum, _, j) => [kappas[j], sum]);
        const give = (row: Index, sum: Float) => k.write(asked, uAt(first, token, row), sum);
        foldState(k, room, state, "rows", [{ parts, give }]);
        step(first, token);
      });
      k.for(first, end, 1, (walked) => {
        const token = k.let(sub(sub(add(first, end), i32(1)), walked));
        loadState(k, state, places.states, kept);
        k.for(first, token, 1, (earlier) => void step(first, earlier));
        const dys = ofRows(k, state, tokenOf(k, dy, token));
        const rs = ofColumns(k, state, tokenOf(k, r, token));
        eachSum(gradient.sums, (sum, i, j) => k.set(sum, fma(dys[i], rs[j], sum)));
        const g = gradient.sums.values;

        const { keys, given } = columnsOf(token);
        const dvParts = blockSums(k, gradient, "rows", (sum, _, j) => [sum, keys[j]]);
        const duParts = blockSums(k, gradient, "rows", (sum, _, j) => [neg(sum), given[j]]);
        foldState(k, room, state, "rows", [
          { parts: dvParts, give: dv(token) },
          { parts: duParts, give: (row, sum) => k.write(solved, row, sum) },
        ]);
        const dus = ofRows(k, state, (row) => k.read(solved, row));

        const dwParts = blockSums(k, state, "columns", (before, i, j) => [g[i][j], before]);
        const solvedParts = blockSums(k, state, "columns", (before, i) => [dus[i], before]);
        const { ws, kappas, vs, us } = step(first, token);
        const drParts = blockSums(k, state, "columns", (after, i) => [dys[i], after]);
        const dkParts = blockSums(k, gradient, "columns", (sum, i) => [vs[i], sum]);
        const dbParts = blockSums(k, gradient, "columns", (sum, i) => [neg(us[i]), sum]);
        // The thread that has db of a column has its dκ too.
        const db = k.variable(f32(0));
        foldState(k, room, state, "columns", [
          { parts: dwParts, give: dw(token) },
          { parts: drParts, give: dr(token) },
          { parts: dkParts, give: dk(token) },
          {
            parts: dbParts,
            give: (column, sum) => {
              k.set(db, sum);
              da(token)(column, mul(sum, tokenOf(k, kappa, token)(column)));
            },
          },
          {
            parts: solvedParts,
            give: (column, sum) =>
              dkappa(token)(column, fma(db, tokenOf(k, a, token)(column), sum)),
          },
        ]);
        eachSum(gradient.sums, (sum, i, j) => {
          k.set(sum, fma(dus[i], kappas[j], mul(sum, ws[j])));
        });
      });
    });
    storeState(k, gradient, places.dState, head.state);
  });
}
