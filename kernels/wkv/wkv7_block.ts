/**
 * The RWKV-7 recurrence over a block of eight tokens in the form of matrix products.
 *
 * With P(s, t) the product of the decays after token s up to token t, and u = S·κᵀ, the state is a
 * sum over the tokens before: S after t = S₀·P(…, t) + Σₛ (vₛkₛ + uₛbₛ)·P(s, t), b = −a⊙κ. So all
 * that touches a whole state is a product with eight rows, and what tokens do to one another is
 * eight times eight numbers. Decays are only ever multiplied, never divided by.
 *
 * Everything of a block lies in scratch memory as rows [token][width]. Tokens that do not exist are
 * rows of zeros with decay 1.
 */

import type { Block } from "../language/block.ts";
import { quadsOf } from "../language/lanes.ts";
import {
  add,
  constant,
  fma,
  i32,
  lessThan,
  load,
  mul,
  neg,
  offset,
  sub,
} from "../language/language.ts";
import { further } from "../products.ts";
import { scratchLayout } from "../scratch.ts";
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
  transpose,
  type V,
  variable,
  zeros,
} from "../language/vectors.ts";

/** Tokens of a block. */
export const TOKENS = 8;
/** Bytes of a row of lanes. */
export const LANE_ROW = TOKENS * F32;

/** The parts of a block. */
export function blockScratch(width: number) {
  const row = width * F32;
  const rows = TOKENS * row;
  return scratchLayout({
    ...{ w: rows, k: rows, b: rows, kappa: rows, r: rows },
    // Products take these two by two.
    ...{ v: rows, u: rows },
    ...{ dy: rows, du: rows },
    /** k and b decayed to the end of the block, r and κ from its begin. */
    ...{ kLate: rows, bLate: rows },
    ...{ rEarly: rows, kappaEarly: rows },
    /** The decay from each token to the end, and of the whole block. */
    ...{ late: rows, decay: row },
    /** κ early as [width][8], b and k late as [width][16]. */
    ...{ kappaLanes: width * LANE_ROW, bkLanes: 2 * width * LANE_ROW },
    /** For tokens τ and t ≤ τ: k·r, b·r, k·κ and b·κ, with the decay between. */
    scores: TOKENS * TOKENS * FOUR,
    /** For τ and t: r and κ of τ decayed back to t. */
    ...{ rBack: TOKENS * rows, kappaBack: TOKENS * rows },
  });
}

type BlockName = keyof ReturnType<typeof blockScratch>["places"];
export type BlockPointers = Readonly<Record<BlockName, Pointer>>;

/** Rows of the inputs: those of the block's first token and the bytes to the next. */
export type BlockInputs = Readonly<Record<"r" | "w" | "k" | "v" | "kappa" | "a" | "dy", Rows>>;

/** Copies a block's tokens, so many of them. */
export function readBlock(
  k: Block,
  width: number,
  inputs: BlockInputs,
  count: Index,
  block: BlockPointers,
): void {
  const row = width * F32;
  const copied = ["w", "k", "kappa", "r", "v", "dy"] as const;
  k.for(0, count, 1, (token) => {
    const from = (name: keyof BlockInputs) => at(inputs[name].first, token, inputs[name].stride);
    for (const name of copied) k.copy(from(name), at(block[name], token, row), row);
    const moves = [k.let(from("kappa")), k.let(from("a")), k.let(at(block.b, token, row))];
    const places = moves.map((p) => [p, k.vectorBytes] as const);
    eachPlace(k, width / k.lanes, 8, places, ([kappa, a, b], [i, j, l]) => {
      k.store(neg(mul(load(k.vector, kappa, i), load(k.vector, a, j))), b, l);
    });
  });
  k.if(lessThan(count, i32(TOKENS)), () => {
    const missing = k.let(mul(sub(i32(TOKENS), count), i32(row)));
    for (const name of [...copied, "b"] as const) k.zero(at(block[name], count, row), missing);
    k.for(mul(count, i32(width)), TOKENS * width, 1, (i) => {
      k.store(constant("f32", 1), at(block.w, i, F32));
    });
  });
}

/** Decays k, b, r and κ to the ends of the block. */
export function decayBlock(k: Block, width: number, block: BlockPointers): void {
  const row = width * F32;
  k.for(0, row, k.vectorBytes, (bytes) => {
    const of = (name: BlockName, token: number) =>
      k.let(load(k.vector, further(block[name], bytes), token * row));
    const put = (value: V, name: BlockName, token: number) => {
      k.store(value, further(block[name], bytes), token * row);
    };
    const lanes = (values: readonly V[], to: Pointer, stride: number, half: number) => {
      // Of each four columns, four tokens become four rows of lanes.
      const out = k.let(at(to, bytes, stride / F32));
      transpose(k, values).forEach((value, i) => {
        quadsOf(k, value).forEach((four, quad) => {
          k.store(four, out, (4 * quad + i) * stride + half * FOUR);
        });
      });
    };
    let decay: V | undefined;
    for (const half of [0, 1]) {
      const early: V[] = [];
      for (let token = 4 * half; token < 4 * half + 4; token++) {
        const kappa = of("kappa", token);
        early.push(decay === undefined ? kappa : k.let(mul(kappa, decay)));
        put(early[token % 4], "kappaEarly", token);
        const w = of("w", token);
        decay = decay === undefined ? w : k.let(mul(decay, w));
        put(mul(of("r", token), decay), "rEarly", token);
      }
      lanes(early, block.kappaLanes, LANE_ROW, half);
    }
    put(decay!, "decay", 0);
    let late: V = k.let(constant(k.vector, 1));
    for (const half of [1, 0]) {
      const [ks, bs]: V[][] = [[], []];
      for (let token = 4 * half + 3; token >= 4 * half; token--) {
        put(late, "late", token);
        ks[token % 4] = k.let(mul(of("k", token), late));
        bs[token % 4] = k.let(mul(of("b", token), late));
        put(ks[token % 4], "kLate", token);
        put(bs[token % 4], "bLate", token);
        late = k.let(mul(late, of("w", token)));
      }
      lanes(bs, block.bkLanes, 2 * LANE_ROW, half);
      lanes(ks, offset(block.bkLanes, LANE_ROW), 2 * LANE_ROW, half);
    }
  });
}

/** What tokens are to earlier ones: r and κ decayed back, and their products with k and b. */
export function scoreBlock(k: Block, width: number, block: BlockPointers): void {
  const row = width * F32;
  k.for(0, TOKENS, 1, (later) => {
    const [r, kappa] = [k.let(at(block.r, later, row)), k.let(at(block.kappa, later, row))];
    const pair = k.let(add(mul(later, i32(TOKENS)), later));
    const to = {
      r: variable(k, at(block.rBack, pair, row)),
      kappa: variable(k, at(block.kappaBack, pair, row)),
      score: variable(k, at(block.scores, pair, FOUR)),
    };
    const key = variable(k, at(block.k, later, row));
    const b = variable(k, at(block.b, later, row));
    const w = variable(k, at(block.w, later, row));
    const step = (back: (read: (index: number) => V) => V[], moves: readonly Pointer[]) => {
      const dots = zeros(k, 4);
      const all = [...moves, key, b, to.r, to.kappa].map((p) => [p, k.vectorBytes] as const);
      const n = moves.length;
      eachPlace(k, width / k.lanes, 4, all, (p, i) => {
        const [rBack, kappaBack] = back((x) => k.let(load(k.vector, p[x], i[x]))).map((value) =>
          k.let(value)
        );
        k.store(rBack, p[n + 2], i[n + 2]);
        k.store(kappaBack, p[n + 3], i[n + 3]);
        const [keys, bs] = [0, 1].map((x) => k.let(load(k.vector, p[n + x], i[n + x])));
        k.set(dots[0], fma(keys, rBack, dots[0]));
        k.set(dots[1], fma(bs, rBack, dots[1]));
        k.set(dots[2], fma(keys, kappaBack, dots[2]));
        k.set(dots[3], fma(bs, kappaBack, dots[3]));
      });
      k.store(sums(k, dots[0], dots[1], dots[2], dots[3]), to.score);
      advance(k, [[to.r, -row], [to.kappa, -row], [to.score, -FOUR], [key, -row], [b, -row]]);
    };
    // κ takes part from the token before on, r from its own.
    step((read) => [read(0), constant(k.vector, 0)], [r]);
    k.if(lessThan(i32(0), later), () => {
      step((read) => [mul(read(0), read(1)), read(2)], [r, w, kappa]);
      k.for(1, later, 1, () => {
        advance(k, [[w, -row]]);
        const before = [to.r, to.kappa].map((pointer) => k.let(offset(pointer, row)));
        step((read) => [mul(read(0), read(2)), mul(read(1), read(2))], [...before, w]);
      });
    });
  });
}
