/**
 * A chunk's tokens made ready for the states (chunks.ts): scores, κ̂ and r̂, b̄ and k̄, and what the
 * tokens do to one another. A group has a chunk.
 */

import { WKV_CHUNK } from "../../../graph/build.ts";
import { add, i32, lessThan, mul, rem, sub } from "../../language/language.ts";
import { gpuKernel, type OperandTypes } from "../block.ts";
import type { GpuKernel } from "../kernel.ts";
import { f32, type Index } from "../language.ts";
import { TILE_THREADS } from "../matmul/products.ts";
import { rowsByName } from "./recurrence.ts";
import {
  allChunks,
  chunkToken,
  count,
  type GpuChunkedShape,
  groupChunk,
  type Places,
  position,
  removes,
  vectorAt,
  vectorsOf,
} from "./chunks.ts";
import { FORWARD, readB, scoreChunk, scoreElements, solveColumn } from "./scores.ts";

/** Threads for keys, and as many for values. */
const HALF = TILE_THREADS / 2;

/**
 * The kernel, for the forward pass or the gradient. Operands: r, w, k, v, and where there are, κ and
 * a → by chunks `turned` [width, vectors], `rows` [vectors, width], `decays` [width], and
 * - forward, where `turned` has κ̂ and r̂, `rows` b̄ and k̄: u′ and y′ [width, vectors];
 * - for the gradient, the other way round: the scores and, where there is one, u′ [tokens, width].
 */
export function wkvTokens(shape: GpuChunkedShape, pass: "forward" | "gradient"): GpuKernel {
  const { width } = shape;
  const chunks = allChunks(shape);
  const scores = scoreElements(shape);
  const vectors = vectorsOf(shape);
  const inputs = Object.keys(shape.inputs).length;
  const solves = removes(shape) ? 6 : 2;
  return {
    key: `wkv_tokens ${pass} ${JSON.stringify(shape)}`,
    code: () => code(shape, pass),
    groups: chunks,
    // Half of the pairs of tokens, and the decays between.
    flops: chunks * width * (scores + vectors * WKV_CHUNK / 2 + solves * WKV_CHUNK * WKV_CHUNK),
    bytes: 4 * chunks * width * (inputs * WKV_CHUNK + 3 * vectors + 1),
  };
}

function code(shape: GpuChunkedShape, pass: "forward" | "gradient") {
  const { width, inputs } = shape;
  const forward = pass === "forward";
  const vectors = vectorsOf(shape);
  const operands: OperandTypes = {
    ...Object.fromEntries(Object.keys(inputs).map((name) => [name, "f32" as const])),
    ...{ turned: "+f32", rows: "+f32", decays: "+f32" },
    ...(forward ? { local: "+f32" } : { scores: "+f32" }),
    ...(!forward && removes(shape) ? { local: "+f32" } : {}),
  };
  return gpuKernel(`wkv_tokens_${pass}`, TILE_THREADS, operands, (k, all) => {
    const places = all as Places;
    const { head, index, first } = groupChunk(k, shape);
    const rows = rowsByName(k, places, inputs as Required<typeof inputs>, head);
    const reads = {
      r: chunkToken(k, shape, rows.r, first),
      w: chunkToken(k, shape, rows.w, first, 1),
      k: chunkToken(k, shape, rows.k, first),
      ...(removes(shape)
        ? {
          kappa: chunkToken(k, shape, rows.kappa, first),
          a: chunkToken(k, shape, rows.a, first),
        }
        : {}),
    };
    const v = chunkToken(k, shape, rows.v, first);
    const b = readB(k, reads);
    const scores = k.shared("f32", scoreElements(shape));
    scoreChunk(k, shape, reads, scores);
    if (!forward) {
      for (let from = 0; from < scoreElements(shape); from += TILE_THREADS) {
        const at = k.let(add(k.thread, i32(from)));
        const to = position([index, scoreElements(shape)], [at, 1]);
        k.write(places.scores, to, k.read(scores, at));
      }
    }

    const turned = (vector: Index, column: Index) =>
      position([index, vectors * width], [column, vectors], [vector, 1]);
    const asRow = (vector: Index, column: Index) =>
      position([index, vectors * width], [vector, width], [column, 1]);
    const early = forward
      ? { place: places.turned, at: turned }
      : { place: places.rows, at: asRow };
    const late = forward ? { place: places.rows, at: asRow } : { place: places.turned, at: turned };
    const removed = (token: Index) => vectorAt(shape, "removed", token);
    const own = (token: Index) => vectorAt(shape, "own", token);

    const keys = (column: Index) => {
      const decay = k.variable(f32(1));
      solveColumn(k, shape, scores, {
        equations: FORWARD,
        given: [],
        own: (token) => {
          const kappa = reads.kappa && k.let(mul(reads.kappa(token, column), decay));
          k.set(decay, mul(decay, reads.w(token, column)));
          return { solved: kappa, asked: k.let(mul(reads.r(token, column), decay)) };
        },
        put: (token, kappa, r) => {
          if (kappa !== undefined) k.write(early.place, early.at(removed(token), column), kappa);
          k.write(early.place, early.at(own(token), column), r);
        },
      });
      k.write(places.decays, position([index, width], [column, 1]), decay);
      k.set(decay, f32(1));
      k.for(0, WKV_CHUNK, 1, (step) => {
        const token = k.let(sub(i32(WKV_CHUNK - 1), step));
        if (b !== undefined) {
          k.write(late.place, late.at(removed(token), column), mul(b(token, column), decay));
        }
        k.write(late.place, late.at(own(token), column), mul(reads.k(token, column), decay));
        k.set(decay, mul(decay, reads.w(token, column)));
      });
    };
    const values = (column: Index) => {
      solveColumn(k, shape, scores, {
        equations: FORWARD,
        given: count(WKV_CHUNK).map((token) => v(i32(token), column)),
        own: () => ({}),
        put: (token, u, y) => {
          if (!forward) {
            const at = position([index, WKV_CHUNK * width], [token, width], [column, 1]);
            return k.write(places.local, at, u!);
          }
          if (u !== undefined) k.write(places.local, turned(removed(token), column), u);
          k.write(places.local, turned(own(token), column), y);
        },
      });
    };
    const each = (first: number, run: (column: Index) => void) => {
      const column = k.let(add(rem(k.thread, i32(HALF)), i32(first)));
      k.if(lessThan(column, i32(width)), () => run(column));
    };
    for (let first = 0; first < width; first += HALF) {
      const both = forward || removes(shape);
      k.if(
        lessThan(k.thread, i32(HALF)),
        () => each(first, keys),
        both ? () => each(first, values) : undefined,
      );
    }
  });
}
