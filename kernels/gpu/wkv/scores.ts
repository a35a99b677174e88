/**
 * What the tokens of a chunk are to one another (chunks.ts): scores k·r, b·r, k·κ and b·κ of a
 * token and those before it, with the decay between, and what follows from them.
 */

import { WKV_CHUNK } from "../../../graph/build.ts";
import {
  add,
  div,
  equal,
  fma,
  i32,
  lessThan,
  mul,
  neg,
  rem,
  select,
  sub,
} from "../../language/language.ts";
import type { GpuBlock } from "../block.ts";
import { f32, type Float, type Index, type Place } from "../language.ts";
import { TILE_THREADS } from "../matmul/products.ts";
import {
  count,
  type GpuChunkedShape,
  inside,
  position,
  type ReadToken,
  removes,
  sumOfProducts,
} from "./chunks.ts";

/** Scores of a chunk in memory: [score][token][earlier token], 0 for later ones. */
const SCORES = ["kR", "bR", "kKappa", "bKappa"] as const;
export type Score = typeof SCORES[number];

const TABLE = WKV_CHUNK * WKV_CHUNK;

/** The scores that there are. */
const scoresOf = (shape: GpuChunkedShape): readonly Score[] => removes(shape) ? SCORES : ["kR"];

/** Their elements. */
export const scoreElements = (shape: GpuChunkedShape): number => scoresOf(shape).length * TABLE;

/** The place of a score. */
const scoreAt = (score: Score, token: Index, other: Index): Index =>
  add(i32(SCORES.indexOf(score) * TABLE), position([token, WKV_CHUNK], [other, 1]));

/** Columns of tokens that lie in shared memory together. */
const SLAB = 32;
/** Threads that have a token's columns, and earlier tokens that each takes: those of one half. */
const [SIDE, HALF] = [8, WKV_CHUNK / 2];
/** From one pair of tokens to the next in shared memory, where the sums of all its threads meet. */
const PITCH = SIDE + 1;

/** Reads a chunk's tokens. */
export interface TokenReads {
  readonly r: ReadToken;
  readonly w: ReadToken;
  readonly k: ReadToken;
  readonly kappa?: ReadToken;
  readonly a?: ReadToken;
}

/** b = −a⊙κ, where there is one. */
export function readB(k: GpuBlock, { kappa, a }: TokenReads): ReadToken | undefined {
  if (kappa === undefined || a === undefined) return undefined;
  return (token, column) => k.let(neg(mul(a(token, column), kappa(token, column))));
}

/**
 * Computes the scores of a chunk into shared memory, by TILE_THREADS threads. Each goes back from a token
 * through one half of the chunk, with some of the columns. A barrier is the last step of all.
 */
export function scoreChunk(
  k: GpuBlock,
  shape: GpuChunkedShape,
  reads: TokenReads,
  scores: Place<"f32">,
): void {
  const { width } = shape;
  const { r, w, k: key, kappa } = reads;
  const staged = [r, w, key, kappa, readB(k, reads)].filter((read) => read !== undefined);
  const rows = WKV_CHUNK * SLAB;
  const room = k.shared("f32", Math.max(staged.length * rows, TABLE * PITCH));
  const half = k.let(div(k.thread, i32(TILE_THREADS / 2)));
  const token = k.let(rem(div(k.thread, i32(SIDE)), i32(WKV_CHUNK)));
  const lane = k.let(rem(k.thread, i32(SIDE)));
  const earlier = count(HALF).map((i) => k.let(add(mul(half, i32(HALF)), i32(i))));
  const sums = scoresOf(shape).map(() => earlier.map(() => k.variable(f32(0))));
  // Tokens of the later half that lie between, for who goes through the earlier one.
  const between = k.let(select(equal(half, i32(0)), add(token, i32(1)), i32(0)));

  k.for(0, width, SLAB, (first) => {
    const column = k.let(add(first, rem(k.thread, i32(SLAB))));
    const own = inside(k, column, width, SLAB);
    for (let begin = 0; begin < rows; begin += TILE_THREADS) {
      const row = k.let(add(div(k.thread, i32(SLAB)), i32(begin / SLAB)));
      staged.forEach((read, i) => {
        const value = read(row, own);
        const known = width % SLAB === 0 || read === w
          ? value
          : select(lessThan(column, i32(width)), value, f32(0));
        k.write(room, add(k.thread, i32(i * rows + begin)), known);
      });
    }
    k.barrier();
    k.for(0, SLAB, SIDE, (from) => {
      const at = k.let(add(from, lane));
      const of = (vector: number, row: Index) =>
        k.read(room, add(i32(vector * rows), position([row, SLAB], [at, 1])));
      const [rs, kappas] = [0, 3].map((i) => i < staged.length ? of(i, token) : f32(0));
      // Without branches, which would wait for every read: what takes no part yet is 0. κ takes part from
      // the token before its own on.
      const begun = lessThan(i32(HALF), between);
      const back = {
        r: k.variable(select(begun, rs, f32(0))),
        kappa: k.variable(select(begun, kappas, f32(0))),
      };
      for (let other = HALF; other < WKV_CHUNK; other++) {
        const ws = of(1, i32(other));
        const decay = (last: number) => select(lessThan(i32(last), between), ws, f32(1));
        k.set(back.r, mul(back.r, decay(other)));
        if (sums.length > 1) k.set(back.kappa, mul(back.kappa, decay(other + 1)));
      }
      earlier.map((other, i) => [other, i] as const).toReversed().forEach(([other, i]) => {
        const own = equal(other, token);
        const [ws, keys] = [of(1, other), of(2, other)];
        k.set(back.r, select(own, rs, back.r));
        k.set(sums[0][i], fma(keys, back.r, sums[0][i]));
        if (sums.length > 1) {
          const bs = of(4, other);
          k.set(sums[1][i], fma(bs, back.r, sums[1][i]));
          k.set(sums[2][i], fma(keys, back.kappa, sums[2][i]));
          k.set(sums[3][i], fma(bs, back.kappa, sums[3][i]));
          k.set(back.kappa, select(own, kappas, mul(back.kappa, ws)));
        }
        k.set(back.r, mul(back.r, ws));
      });
    });
    k.barrier();
  });

  sums.forEach((own, score) => {
    own.forEach((sum, i) => {
      const pair = position([token, WKV_CHUNK], [earlier[i], 1]);
      k.write(room, add(mul(pair, i32(PITCH)), lane), sum);
    });
    k.barrier();
    const first = k.let(mul(k.thread, i32(PITCH)));
    const parts = count(SIDE).map((i) => k.read(room, add(first, i32(i))));
    const sum = parts.reduce((total, part) => k.let(add(total, part)));
    k.write(scores, add(i32(score * TABLE), k.thread), sum);
    k.barrier();
  });
}

/** The scores that what is solved, and what is asked of it, take from two kinds of tokens. */
interface Equations {
  /** Of what is given, and of what is solved. */
  readonly solved: readonly [given: Score, solved: Score];
  readonly asked: readonly [given: Score, solved: Score];
}

/** From the first token: u (or κ̂) of v, and y (or r̂) of both. */
export const FORWARD: Equations = {
  solved: ["kKappa", "bKappa"],
  asked: ["kR", "bR"],
};

/** From the last token, with scores turned: du of dy, and dv of both. */
export const BACK: Equations = {
  solved: ["bR", "bKappa"],
  asked: ["kR", "kKappa"],
};

/** A column of a chunk's tokens. */
export interface Column {
  readonly equations: Equations;
  /** What is known of every token: v or dy. */
  readonly given: readonly Float[];
  /** What a token has besides, to be solved and to be asked. */
  readonly own: (token: Index) => { readonly solved?: Float; readonly asked?: Float };
  /** Takes a token's result; `solved` is there where tokens remove. */
  readonly put: (token: Index, solved: Float | undefined, asked: Float) => void;
}

/**
 * Solves x[t] = own + Σ score·given + score·x over the other tokens, one token after another, for a
 * thread's column; the scores of those that come after it are zeros, in [score][token][other].
 */
export function solveColumn(
  k: GpuBlock,
  shape: GpuChunkedShape,
  scores: Place<"f32">,
  { equations, given, own, put }: Column,
): void {
  const x = removes(shape) ? count(WKV_CHUNK).map(() => k.variable(f32(0))) : [];
  k.for(0, WKV_CHUNK, 1, (step) => {
    const token = equations === BACK ? k.let(sub(i32(WKV_CHUNK - 1), step)) : step;
    const known = own(token);
    const times = (values: readonly Float[], score: Score) =>
      values.map((value, other) =>
        [k.read(scores, scoreAt(score, token, i32(other))), value] as const
      );
    const total = (own: Float | undefined, [ofGiven, ofSolved]: Equations["solved"]) => {
      const pairs = [...times(given, ofGiven), ...times(x, ofSolved)];
      if (pairs.length === 0) return own ?? f32(0);
      const sum = sumOfProducts(k, pairs);
      return own === undefined ? sum : k.let(add(own, sum));
    };
    const solved = x.length > 0 ? total(known.solved, equations.solved) : undefined;
    if (solved !== undefined) {
      x.forEach((value, other) => {
        k.set(value, select(equal(token, i32(other)), solved, value));
      });
    }
    put(token, solved, total(known.asked, equations.asked));
  });
}
