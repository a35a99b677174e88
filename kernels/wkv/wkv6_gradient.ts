/**
 * Gradient of the RWKV-6 recurrence, by chunks (wkv6_block.ts) from the last to the first, with dS
 * the gradient of the state after a chunk and S the state before it, which was kept. For a token t,
 * with G the gradient of the state after it:
 *
 *     dr = S after t·dy, dk = G·v, dv = k·G, dw = Σ over values of G⊙S before t
 *
 * where G = diag(P(t, end))·dS + Σ_τ≥t (r_τ⊙P(t, τ))ᵀdy_τ. What a token τ asks of the state,
 * Q = S·dy_τ, is followed through the tokens up to τ, where it is dr; so dw is a sum over pairs of
 * tokens of rows, not of states. As in the forward pass, decays are only ever multiplied.
 */

import type { Block } from "../language/block.ts";
import type { Kernel, OperandLayout } from "../kernel.ts";
import { quadsOf } from "../language/lanes.ts";
import { add, fma, i32, load, mul, offset, splat, sub } from "../language/language.ts";
import { accumulate, eachColumns, further, storeTile, tileOf } from "../products.ts";
import { scratchLayout, scratchPointers } from "../scratch.ts";
import {
  advance,
  at,
  eachPlace,
  F32,
  type Index,
  type Pointer,
  type Rows,
  sums,
  transpose,
  variable,
  WIDEST,
  zeros,
} from "../language/vectors.ts";
import { WKV6_INPUTS, type Wkv6Name, type Wkv6Shape } from "./wkv6.ts";
import {
  type BlockPointers,
  blockScratch,
  decayBlock,
  openBlock,
  readBlock,
  scoreBlock,
  scoresTransposedTimes,
  TOKENS,
} from "./wkv6_block.ts";
import { columnAccess, type GradientChunk, wkvGradient } from "./gradient.ts";
import { moveState, rowsTimesState, stateTimesLanes } from "./products.ts";

/** What a block holds of inputs. */
const INPUTS = [...WKV6_INPUTS, "dy"] as const;

/** Bytes of a row of lanes, one a token. */
const LANE_ROW = TOKENS * F32;
/** Vectors that are kept of a token for a pair of vectors, and bytes of the widest. */
const PAIR = 2;
const WIDEST_PAIR = PAIR * WIDEST;

/**
 * Operands r, w, k, v, chunk states, dy, dstate → dr, dw, dk, dv, dstate. The two dstates may be one
 * memory. `dy` tells how dy lies, contiguous where it is missing.
 */
export function wkv6Gradient(shape: Wkv6Shape & { dy?: OperandLayout }): Kernel {
  const { width } = shape;
  const layout = gradientScratch(width);
  return wkvGradient(shape, {
    op: "wkv6_gradient",
    names: WKV6_INPUTS,
    flops: 14,
    scratchBytes: layout.bytes,
    write: (k, base) => {
      const scratch = scratchPointers(k, base, layout);
      const block = openBlock(k, width, scratch.block, true);
      return (chunk) => writeChunk(k, width, block, scratch, chunk);
    },
  });
}

/** What a chunk needs of scratch memory. */
function gradientScratch(width: number) {
  const row = width * F32;
  return scratchLayout({
    block: blockScratch(width, true).bytes,
    /** v and dy as [width][tokens], and room for products with them. */
    ...{ vLanes: width * LANE_ROW, dyLanes: width * LANE_ROW, lanes: width * LANE_ROW },
    dv: TOKENS * row,
    /** v of a token times dy of every token. */
    grams: TOKENS * LANE_ROW,
    /** S·dy before the chunk, dS·v after it, and Σ over values of S⊙dS. */
    ...{ asked: TOKENS * row, given: TOKENS * row, dots: row },
    /** For a pair of vectors: Q of every token before every token, r on its way back, dw so far. */
    ...{ pairs: (TOKENS + 1) * TOKENS * WIDEST_PAIR, back: TOKENS * WIDEST_PAIR },
    kept: TOKENS * WIDEST_PAIR,
  });
}

type Scratch = Readonly<Record<keyof ReturnType<typeof gradientScratch>["places"], Pointer>>;

/** All that a chunk gives, and the gradient of the state before it. */
function writeChunk(
  k: Block,
  width: number,
  block: BlockPointers,
  scratch: Scratch,
  { tokens, state, dState, inputs, gradients }: GradientChunk<Wkv6Name>,
): void {
  const row = width * F32;
  readBlock(k, width, inputs(INPUTS, i32(0)), tokens, block);
  decayBlock(k, width, block, true);
  scoreBlock(k, width, block);
  toLanes(k, width, block.v, scratch.vLanes);
  toLanes(k, width, block.dy, scratch.dyLanes);
  gramBlock(k, width, block.v, scratch.dyLanes, scratch.grams);
  const ofLanes = (matrix: Pointer, lanes: Pointer, to: Pointer) => {
    const rows = { first: lanes, stride: LANE_ROW };
    const target = (four: number) => offset(to, four * row);
    stateTimesLanes(k, width, TOKENS, matrix, rows, target, scratch.lanes);
  };
  ofLanes(state, scratch.dyLanes, scratch.asked);
  ofLanes(dState, scratch.vLanes, scratch.given);
  rowDots(k, width, state, dState, scratch.dots);
  const more = scoresTransposedTimes(k, width, block, block.dy);
  rowsTimesState(k, width, block.kLate, dState, scratch.dv, { more });
  moveState(k, width, {
    ...{ from: dState, to: dState, decay: block.decay, decayOf: "rows" },
    ...{ left: block.rEarly, right: block.dy },
  });
  const out = gradients(i32(0));
  k.for(0, tokens, 1, (token) => {
    k.copy(at(scratch.dv, token, row), at(out.v.first, token, out.v.stride), row);
  });
  writeGradients(k, width, tokens, block, scratch, out);
}

/** Rows [token][width] as lanes [width][token]. */
function toLanes(k: Block, width: number, rows: Pointer, lanes: Pointer): void {
  const row = width * F32;
  k.for(0, row, k.vectorBytes, (bytes) => {
    const [from, to] = [k.let(further(rows, bytes)), k.let(at(lanes, bytes, LANE_ROW / F32))];
    for (let four = 0; four < TOKENS; four += 4) {
      const square = [0, 1, 2, 3].map((i) => k.let(load(k.vector, from, (four + i) * row)));
      transpose(k, square).forEach((value, i) => {
        quadsOf(k, value).forEach((part, quad) => {
          k.store(part, to, (4 * quad + i) * LANE_ROW + four * F32);
        });
      });
    }
  });
}

/** to[t][τ] = v of t times dy of τ, by rows of at least eight tokens. */
function gramBlock(k: Block, width: number, v: Pointer, dyLanes: Pointer, to: Pointer): void {
  const row = width * F32;
  const vectors = Math.min(2, TOKENS / k.lanes);
  for (let first = 0; first < TOKENS; first += 4) {
    // Tokens before the first of a tile ask nothing of it.
    for (let part = 0; part < LANE_ROW; part += vectors * k.vectorBytes) {
      if (part + vectors * k.vectorBytes <= first * F32) continue;
      const tile = tileOf(k, 4, vectors);
      accumulate(k, tile, {
        ...{ a: offset(v, first * row), aRow: row, aStep: F32 },
        ...{ b: offset(dyLanes, part), bStep: LANE_ROW, count: width },
      });
      storeTile(k, tile, offset(to, first * LANE_ROW + part), LANE_ROW);
    }
  }
}

/** to[row] = Σ over columns of a⊙b. */
function rowDots(k: Block, width: number, a: Pointer, b: Pointer, to: Pointer): void {
  const row = width * F32;
  k.for(0, width, 4, (first) => {
    const dots = zeros(k, 4);
    const moves = [a, b].map((matrix) => [k.let(at(matrix, first, row)), k.vectorBytes] as const);
    eachPlace(k, width / k.lanes, 4, moves, ([x, y], [i, j]) => {
      dots.forEach((dot, n) => {
        const product = load(k.vector, y, j + n * row);
        k.set(dot, fma(load(k.vector, x, i + n * row), product, dot));
      });
    });
    k.store(sums(k, dots[0], dots[1], dots[2], dots[3]), at(to, first, F32));
  });
}

/** Gathers and writes dr, dk and dw of a chunk, a pair of vectors of keys at a time. */
function writeGradients(
  k: Block,
  width: number,
  tokens: Index,
  block: BlockPointers,
  scratch: Scratch,
  out: Readonly<Record<Wkv6Name, Rows>>,
): void {
  const pairBytes = PAIR * k.vectorBytes;
  eachColumns(k, width, (bytes, vectors) => {
    const { each, column, target, read, write, held } = columnAccess(k, width, bytes, vectors);
    const pairAt = (token: Index, later: Index) =>
      at(scratch.pairs, add(mul(token, i32(TOKENS)), later), pairBytes);
    const gramAt = (token: Index, later: Index) =>
      at(at(scratch.grams, token, LANE_ROW), later, F32);

    k.for(0, tokens, 1, (token) => {
      write(read(column(scratch.asked, token)), k.let(pairAt(i32(0), token)));
      write(read(column(block.r, token)), k.let(at(scratch.back, token, pairBytes)));
    });

    // Forward: Q of every later token, and Σ over values of S⊙dS.
    const dots = held(read(k.let(further(scratch.dots, bytes))));
    k.for(0, tokens, 1, (token) => {
      const [w, key, late, given] = [block.w, block.k, block.late, scratch.given].map((rows) =>
        read(column(rows, token))
      );
      write(dots.map((dot, v) => mul(dot, late[v])), k.let(at(scratch.kept, token, pairBytes)));
      each.forEach((v) => k.set(dots[v], fma(key[v], given[v], mul(dots[v], w[v]))));
      const pair = variable(k, pairAt(token, token));
      const gram = variable(k, gramAt(token, token));
      k.for(token, tokens, 1, () => {
        const product = k.let(splat(load("f32", gram), k.vector));
        each.forEach((v) => {
          const decayed = mul(load(k.vector, pair, v * k.vectorBytes), w[v]);
          k.store(fma(product, key[v], decayed), pair, TOKENS * pairBytes + v * k.vectorBytes);
        });
        advance(k, [[pair, pairBytes], [gram, F32]]);
      });
      write(read(k.let(pairAt(add(token, i32(1)), token))), target(out.r, token));
    });

    // Back: r of every later token.
    k.for(0, tokens, 1, (done) => {
      const token = k.let(sub(sub(tokens, i32(1)), done));
      const [w, late, given] = [block.w, block.late, scratch.given].map((rows) =>
        read(column(rows, token))
      );
      const dk = each.map((v) => variable(k, mul(given[v], late[v])));
      const dw = held(read(k.let(at(scratch.kept, token, pairBytes))));
      const pair = variable(k, pairAt(token, token));
      const back = variable(k, at(scratch.back, token, pairBytes));
      const gram = variable(k, gramAt(token, token));
      k.for(token, tokens, 1, () => {
        const product = k.let(splat(load("f32", gram), k.vector));
        each.forEach((v) => {
          const r = k.let(load(k.vector, back, v * k.vectorBytes));
          k.set(dk[v], fma(product, r, dk[v]));
          k.set(dw[v], fma(load(k.vector, pair, v * k.vectorBytes), r, dw[v]));
          k.store(mul(r, w[v]), back, v * k.vectorBytes);
        });
        advance(k, [[pair, pairBytes], [back, pairBytes], [gram, F32]]);
      });
      write(dk, target(out.k, token));
      write(dw, target(out.w, token));
    });
  });
}
