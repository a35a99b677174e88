/**
 * What the gradient of a recurrence takes of its values (chunks.ts): dv and, for RWKV-7, u and du
 * of every token. A group has a chunk, and 64 values of it.
 */

import { WKV_CHUNK } from "../../../graph/build.ts";
import {
  add,
  div,
  fma,
  i32,
  lessThan,
  min,
  mul,
  rem,
  select,
  sub,
} from "../../language/language.ts";
import { gpuKernel, type OperandTypes } from "../block.ts";
import { headRows, type HeadStrides } from "../heads.ts";
import type { GpuKernel } from "../kernel.ts";
import { f32, type Index } from "../language.ts";
import { TILE_THREADS } from "../matmul/products.ts";
import { ownRows } from "./recurrence.ts";
import {
  allChunks,
  chunkToken,
  count,
  type GpuChunkedShape,
  groupChunk,
  inside,
  type Places,
  position,
  putToken,
  removes,
  vectorAt,
  vectorsOf,
} from "./chunks.ts";
import { BACK, scoreElements, solveColumn } from "./scores.ts";

/** Values of a group. */
export const GROUP_COLUMNS = 64;
/** Columns of a state that lie in shared memory together. */
const SLAB = 32;

/**
 * The kernel. Operands: by chunks the scores, dS·b̄ and dS·k̄ [vectors, values], and where tokens remove,
 * κ̂ and r̂ [vectors, keys], u′ [tokens, values] and the states before the chunks; then dy → dv and,
 * where tokens remove, u and du by chunks [2, tokens, values].
 */
export function wkvValues(shape: GpuChunkedShape, dy: HeadStrides): GpuKernel {
  const { width } = shape;
  const chunks = allChunks(shape);
  const removed = removes(shape) ? WKV_CHUNK * width : 0;
  return {
    key: `wkv_values ${JSON.stringify([shape, dy])}`,
    code: () => code(shape, dy),
    groups: chunks * Math.ceil(width / GROUP_COLUMNS),
    flops: chunks * width * (scoreElements(shape) + 2 * removed),
    bytes: 4 * chunks *
      (scoreElements(shape) + width * (2 * WKV_CHUNK + vectorsOf(shape)) +
        (removed === 0 ? 0 : width * width + 4 * removed)),
  };
}

function code(shape: GpuChunkedShape, dyLayout: HeadStrides) {
  const { width } = shape;
  const vectors = vectorsOf(shape);
  const elements = scoreElements(shape);
  const removing = removes(shape);
  const operands: OperandTypes = {
    ...{ scores: "f32", asked: "f32" },
    ...(removing ? { rows: "f32", local: "f32", states: "f32" } : {}),
    ...{ dy: "f32", dv: "+f32", ...(removing ? { solved: "+f32" } : {}) },
  };
  const threads = removing ? TILE_THREADS : GROUP_COLUMNS;
  return gpuKernel("wkv_values", threads, operands, (k, all) => {
    const places = all as Places;
    const parts = Math.ceil(width / GROUP_COLUMNS);
    const { head, index, first, part } = groupChunk(k, shape, parts);
    const scores = k.shared("f32", elements);
    for (let from = 0; from < elements; from += threads) {
      // Turned: [score][earlier token][token].
      const at = k.let(add(k.thread, i32(from)));
      const [token, other] = [
        k.let(rem(div(at, i32(WKV_CHUNK)), i32(WKV_CHUNK))),
        k.let(rem(at, i32(WKV_CHUNK))),
      ];
      const to = add(sub(at, position([token, WKV_CHUNK], [other, 1])), token);
      const value = k.read(places.scores, position([index, elements], [at, 1]));
      k.write(scores, add(to, mul(other, i32(WKV_CHUNK))), value);
    }
    const own = k.let(rem(k.thread, i32(GROUP_COLUMNS)));
    const firstValue = k.let(mul(part, i32(GROUP_COLUMNS)));
    const column = k.let(add(firstValue, own));
    const solvedAt = (which: number, token: Index) =>
      position([index, 2 * WKV_CHUNK * width], [i32(which * WKV_CHUNK), width], [token, width], [
        column,
        1,
      ]);

    if (removing) {
      const [pitch, linePitch] = [SLAB + 1, WKV_CHUNK + 4];
      const state = k.shared("f32", GROUP_COLUMNS * pitch);
      const lines = k.shared("f32", SLAB * linePitch);
      const tokens = WKV_CHUNK * GROUP_COLUMNS / threads;
      const firstToken = k.let(mul(div(k.thread, i32(GROUP_COLUMNS)), i32(tokens)));
      const sums = count(tokens).map(() => k.variable(f32(0)));
      k.for(0, width, SLAB, (from) => {
        const lane = k.let(rem(k.thread, i32(SLAB)));
        const key = k.let(add(from, lane));
        const known = inside(k, key, width, SLAB);
        const line = k.let(div(k.thread, i32(SLAB)));
        for (let begin = 0; begin < GROUP_COLUMNS; begin += threads / SLAB) {
          const row = k.let(add(line, i32(begin)));
          const value = inside(k, k.let(add(firstValue, row)), width, GROUP_COLUMNS);
          const at = position([index, width * width], [value, width], [known, 1]);
          k.write(state, position([row, pitch], [lane, 1]), k.read(places.states, at));
        }
        for (let begin = 0; begin < WKV_CHUNK; begin += threads / SLAB) {
          const token = k.let(add(line, i32(begin)));
          const kappa = vectorAt(shape, "removed", token);
          const at = position([index, vectors * width], [kappa, width], [known, 1]);
          const value = k.read(places.rows, at);
          const exists = width % SLAB === 0
            ? value
            : select(lessThan(key, i32(width)), value, f32(0));
          k.write(lines, position([lane, linePitch], [token, 1]), exists);
        }
        k.barrier();
        k.for(0, SLAB, 4, (begin) => {
          for (let i = 0; i < 4; i++) {
            const step = k.let(add(begin, i32(i)));
            const s = k.read(state, position([own, pitch], [step, 1]));
            const at = k.let(position([step, linePitch], [firstToken, 1]));
            sums.forEach((sum, token) =>
              k.set(sum, fma(k.read(lines, add(at, i32(token))), s, sum))
            );
          }
        });
        k.barrier();
      });
      k.if(lessThan(column, i32(width)), () => {
        sums.forEach((sum, i) => {
          const token = k.let(add(firstToken, i32(i)));
          const at = position([index, WKV_CHUNK * width], [token, width], [column, 1]);
          k.write(places.solved, solvedAt(0, token), add(sum, k.read(places.local, at)));
        });
      });
    } else {
      k.barrier();
    }

    const dyRows = headRows(k, places.dy, dyLayout, head.b, head.h);
    const dv = putToken(k, shape, ownRows(k, places.dv, { ...shape, inputs: {} }, head), first);
    const known = k.let(min(column, i32(width - 1)));
    const askedOf = (of: "removed" | "own", token: Index) =>
      k.read(
        places.asked,
        position([index, vectors * width], [vectorAt(shape, of, token), width], [known, 1]),
      );
    k.if(lessThan(k.thread, i32(GROUP_COLUMNS)), () =>
      k.if(lessThan(column, i32(width)), () => {
        solveColumn(k, shape, scores, {
          equations: BACK,
          given: count(WKV_CHUNK).map((token) =>
            chunkToken(k, shape, dyRows, first)(i32(token), known)
          ),
          own: (token) => ({
            ...(removing ? { solved: askedOf("removed", token) } : {}),
            asked: askedOf("own", token),
          }),
          put: (token, du, value) => {
            if (du !== undefined) k.write(places.solved, solvedAt(1, token), du);
            dv(token, column, value);
          },
        });
      }));
  });
}
