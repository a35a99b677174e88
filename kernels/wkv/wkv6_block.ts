/**
 * The RWKV-6 recurrence over a block of sixteen tokens, a chunk, in the form of matrix products.
 *
 * With P(s, t) the product of the decays after token s up to token t, the state after t is
 * diag(P(…, t))·S₀ + Σₛ (kₛ⊙P(s, t))ᵀvₛ. So y of a block is (r⊙P(…, t))·S₀ + A·v, where the scores
 * A[t, s] = Σ r·k·P(s, t) are sixteen times sixteen numbers. Decays are only ever multiplied, never
 * divided by, so that they may be as strong as they like, and 0.
 *
 * Everything of a block lies in scratch memory as rows [token][width]. Tokens that do not exist are
 * rows of zeros with decay 1.
 */

import { WKV_CHUNK } from "../../graph/build.ts";
import type { Block } from "../language/block.ts";
import { add, constant, fma, i32, lessThan, load, mul, offset, sub } from "../language/language.ts";
import { accumulate, further } from "../products.ts";
import { scratchLayout, scratchPointers } from "../scratch.ts";
import {
  advance,
  at,
  eachPlace,
  F32,
  FOUR,
  type Index,
  type Pointer,
  type Rows,
  sums,
  type V,
  variable,
  zeros,
} from "../language/vectors.ts";
import type { AddToRows } from "./products.ts";

/** Tokens of a block. */
export const TOKENS = WKV_CHUNK;
/** Tokens that scores are computed for together, and of zeros before the first. */
const GROUP = 4;
/** Bytes of a row of scores: those of the tokens before the first, then of all tokens. */
const SCORE_ROW = (GROUP + TOKENS) * F32;

/** The parts of a block; `dy` and `late` are there for the gradient only. */
export function blockScratch(width: number, gradient: boolean) {
  const row = width * F32;
  const rows = TOKENS * row;
  return scratchLayout({
    /** Rows of zeros before k and w, for the scores. */
    ...{ beforeK: GROUP * row, k: rows },
    ...{ beforeW: GROUP * row, w: rows },
    ...{ r: rows, v: rows },
    /** r decayed from the begin of the block, k to its end, and the decay of the whole block. */
    ...{ rEarly: rows, kLate: rows, decay: row },
    /** A[t][s]; 0 for s > t. */
    scores: TOKENS * SCORE_ROW,
    /** r of a token on its way back. */
    back: row,
    ...{ dy: gradient ? rows : 0, late: gradient ? rows : 0 },
  });
}

type BlockName = keyof ReturnType<typeof blockScratch>["places"];
export type BlockPointers = Readonly<Record<BlockName, Pointer>>;

/** Pointers to the parts of a block, whose memory is made ready for all blocks to come. */
export function openBlock(
  k: Block,
  width: number,
  base: Pointer,
  gradient: boolean,
): BlockPointers {
  const block = scratchPointers(k, base, blockScratch(width, gradient));
  for (const before of [block.beforeK, block.beforeW]) k.zero(before, GROUP * width * F32);
  k.zero(block.scores, TOKENS * SCORE_ROW);
  return block;
}

/** Copies a block's tokens, so many of them; of v so many columns. */
export function readBlock(
  k: Block,
  width: number,
  inputs: Readonly<Partial<Record<"r" | "w" | "k" | "v" | "dy", Rows>>>,
  count: Index,
  block: BlockPointers,
  columns = width,
): void {
  const row = width * F32;
  const names = Object.keys(inputs) as (keyof typeof inputs)[];
  k.for(0, count, 1, (token) => {
    for (const name of names) {
      const { first, stride } = inputs[name]!;
      const bytes = name === "v" ? columns * F32 : row;
      k.copy(at(first, token, stride), at(block[name], token, row), bytes);
    }
  });
  k.if(lessThan(count, i32(TOKENS)), () => {
    const missing = k.let(mul(sub(i32(TOKENS), count), i32(row)));
    for (const name of names) k.zero(at(block[name], count, row), missing);
    k.for(mul(count, i32(width)), TOKENS * width, 1, (i) => {
      k.store(constant("f32", 1), at(block.w, i, F32));
    });
  });
}

/** Decays r from the begin and k to the end of the block; `keepLate` keeps the latter decays. */
export function decayBlock(
  k: Block,
  width: number,
  block: BlockPointers,
  keepLate: boolean,
): void {
  const row = width * F32;
  k.for(0, row, k.vectorBytes, (bytes) => {
    const of = (name: BlockName, token: number) =>
      k.let(load(k.vector, k.let(further(block[name], bytes)), token * row));
    const put = (value: V, name: BlockName, token: number) => {
      k.store(value, further(block[name], bytes), token * row);
    };
    const decays = Array.from({ length: TOKENS }, (_, token) => of("w", token));
    let decay = decays[0];
    decays.forEach((w, token) => {
      if (token > 0) decay = k.let(mul(decay, w));
      put(mul(of("r", token), decay), "rEarly", token);
    });
    put(decay, "decay", 0);
    let late: V | undefined;
    for (let token = TOKENS - 1; token >= 0; token--) {
      const key = of("k", token);
      put(late === undefined ? key : mul(key, late), "kLate", token);
      if (keepLate) put(late ?? constant(k.vector, 1), "late", token);
      late = late === undefined ? decays[token] : k.let(mul(late, decays[token]));
    }
  });
}

/** The scores of all tokens for themselves and those before, four at a time. */
export function scoreBlock(k: Block, width: number, block: BlockPointers): void {
  const row = width * F32;
  k.for(0, TOKENS, 1, (later) => {
    k.copy(at(block.r, later, row), block.back, row);
    const first = k.let(sub(later, i32(GROUP - 1)));
    const [key, w] = [block.k, block.w].map((rows) => variable(k, at(rows, first, row)));
    const own = at(at(block.scores, later, SCORE_ROW), add(first, i32(GROUP)), F32);
    const score = variable(k, own);
    k.for(0, add(later, i32(1)), GROUP, () => {
      const dots = zeros(k, GROUP);
      const moves = [block.back, key, w].map((pointer) => [pointer, k.vectorBytes] as const);
      eachPlace(k, width / k.lanes, 4, moves, ([back, keys, decays], [i, j, l]) => {
        let r = k.let(load(k.vector, back, i));
        for (let n = GROUP - 1; n >= 0; n--) {
          k.set(dots[n], fma(r, load(k.vector, keys, j + n * row), dots[n]));
          r = k.let(mul(r, load(k.vector, decays, l + n * row)));
        }
        k.store(r, back, i);
      });
      k.store(sums(k, dots[0], dots[1], dots[2], dots[3]), score);
      advance(k, [[key, -GROUP * row], [w, -GROUP * row], [score, -FOUR]]);
    });
  });
}

/** Adds A·v to rows of tokens; `v` are rows of the width. */
export function scoresTimes(k: Block, width: number, block: BlockPointers, v: Pointer): AddToRows {
  return (tile, first, bytes) =>
    accumulate(k, tile, {
      ...{ a: offset(block.scores, first * SCORE_ROW + FOUR), aRow: SCORE_ROW, aStep: F32 },
      ...{ b: k.let(further(v, bytes)), bStep: width * F32, count: first + tile.length },
    });
}

/** Adds Aᵀ·dy to rows of tokens: every token is asked for by those from itself on. */
export function scoresTransposedTimes(
  k: Block,
  width: number,
  block: BlockPointers,
  dy: Pointer,
): AddToRows {
  const row = width * F32;
  return (tile, first, bytes) =>
    accumulate(k, tile, {
      ...{ a: offset(block.scores, first * (SCORE_ROW + F32) + FOUR), aRow: F32 },
      ...{ aStep: SCORE_ROW, b: k.let(further(offset(dy, first * row), bytes)) },
      ...{ bStep: row, count: TOKENS - first },
    });
}
