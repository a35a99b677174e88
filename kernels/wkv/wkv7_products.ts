/**
 * The products of a block of eight RWKV-7 tokens (wkv7_block.ts) with a state or its gradient, and
 * of its tokens with one another.
 */

import type { Block } from "../language/block.ts";
import { add, fma, i32, load, mul, offset, splat, sub } from "../language/language.ts";
import { further, loadTile, storeTile } from "../products.ts";
import {
  advance,
  at,
  divisor,
  eachPlace,
  F32,
  FOUR,
  type Pointer,
  sums,
  variable,
  zeros,
} from "../language/vectors.ts";
import { type BlockPointers, LANE_ROW, TOKENS } from "./wkv7_block.ts";
import { stateTimesLanes } from "./products.ts";

/** Vectors of a row that a solve keeps in registers. */
const solved = (k: Block, width: number) => divisor(width / k.lanes, 4);

/** u of every token, one after another. */
export function solveU(
  k: Block,
  width: number,
  state: Pointer,
  block: BlockPointers,
  scratch: Pointer,
): void {
  const row = width * F32;
  const lanes = { first: block.kappaLanes, stride: LANE_ROW };
  const rows = (four: number) => offset(block.u, four * row);
  stateTimesLanes(k, width, TOKENS, state, lanes, rows, scratch);
  const vectors = solved(k, width);
  k.for(1, TOKENS, 1, (token) => {
    k.for(0, row, vectors * k.vectorBytes, (bytes) => {
      const own = k.let(further(at(block.u, token, row), bytes));
      const [total] = loadTile(k, 1, vectors, own, row);
      const score = variable(k, at(block.scores, mul(token, i32(TOKENS)), FOUR));
      const v = variable(k, further(block.v, bytes));
      const u = variable(k, further(block.u, bytes));
      k.for(0, token, 1, () => {
        const [kKappa, bKappa] = [2, 3].map((i) =>
          k.let(splat(load("f32", score, i * F32), k.vector))
        );
        total.forEach((sum, i) => {
          const withV = fma(kKappa, load(k.vector, v, i * k.vectorBytes), sum);
          k.set(sum, fma(bKappa, load(k.vector, u, i * k.vectorBytes), withV));
        });
        advance(k, [[score, FOUR], [v, row], [u, row]]);
      });
      storeTile(k, [total], own, row);
    });
  });
}

/** dv and du of every token, from the last: [tokens][width] rows of du in place, dv elsewhere. */
export function solveGradients(
  k: Block,
  width: number,
  dState: Pointer,
  block: BlockPointers,
  dv: Pointer,
  scratch: Pointer,
): void {
  const row = width * F32;
  // b's lanes come first, then k's.
  const lanes = { first: block.bkLanes, stride: 2 * LANE_ROW };
  const rows = (four: number) =>
    four < TOKENS ? offset(block.du, four * row) : offset(dv, (four - TOKENS) * row);
  stateTimesLanes(k, width, 2 * TOKENS, dState, lanes, rows, scratch);
  const vectors = solved(k, width);
  k.for(0, TOKENS, 1, (back) => {
    const token = k.let(sub(i32(TOKENS - 1), back));
    k.for(0, row, vectors * k.vectorBytes, (bytes) => {
      const own = [block.du, dv].map((rows) => k.let(further(at(rows, token, row), bytes)));
      const totals = own.map((from) => loadTile(k, 1, vectors, from, row)[0]);
      const pair = mul(token, i32(TOKENS + 1));
      const score = variable(k, at(block.scores, pair, FOUR));
      const dy = variable(k, further(at(block.dy, token, row), bytes));
      const du = variable(k, further(at(block.du, token, row), bytes));
      k.for(token, TOKENS, 1, () => {
        const [kr, br, kKappa, bKappa] = [0, 1, 2, 3].map((i) =>
          k.let(splat(load("f32", score, i * F32), k.vector))
        );
        for (let i = 0; i < vectors; i++) {
          const [y, u] = [dy, du].map((from) => k.let(load(k.vector, from, i * k.vectorBytes)));
          k.set(totals[0][i], fma(bKappa, u, fma(br, y, totals[0][i])));
          k.set(totals[1][i], fma(kKappa, u, fma(kr, y, totals[1][i])));
        }
        advance(k, [[score, TOKENS * FOUR], [dy, row], [du, row]]);
      });
      totals.forEach((total, i) => storeTile(k, [total], own[i], row));
    });
  });
}

/** For tokens τ and t ≤ τ: dy·v, dy·u, du·v, du·u, as [τ][t] vectors of four. */
export function gramBlock(k: Block, width: number, block: BlockPointers, to: Pointer): void {
  const row = width * F32;
  k.for(0, TOKENS, 1, (later) => {
    const [dy, du] = [k.let(at(block.dy, later, row)), k.let(at(block.du, later, row))];
    k.for(0, add(later, i32(1)), 1, (token) => {
      const [v, u] = [k.let(at(block.v, token, row)), k.let(at(block.u, token, row))];
      const dots = zeros(k, 4);
      const moves = [dy, du, v, u].map((p) => [p, k.vectorBytes] as const);
      eachPlace(k, width / k.lanes, 8, moves, (p, i) => {
        const [y, d, vs, us] = p.map((pointer, x) => k.let(load(k.vector, pointer, i[x])));
        k.set(dots[0], fma(y, vs, dots[0]));
        k.set(dots[1], fma(y, us, dots[1]));
        k.set(dots[2], fma(d, vs, dots[2]));
        k.set(dots[3], fma(d, us, dots[3]));
      });
      const pair = add(mul(later, i32(TOKENS)), token);
      k.store(sums(k, dots[0], dots[1], dots[2], dots[3]), at(to, pair, FOUR));
    });
  });
}

/** to[column] = Σ over rows of a⊙b. */
export function columnProducts(k: Block, width: number, a: Pointer, b: Pointer, to: Pointer): void {
  const row = width * F32;
  const vectors = divisor(width / k.lanes, 4);
  k.for(0, row, vectors * k.vectorBytes, (bytes) => {
    const total = zeros(k, vectors);
    const [x, y] = [variable(k, further(a, bytes)), variable(k, further(b, bytes))];
    k.for(0, width, 2, () => {
      for (const next of [0, row]) {
        total.forEach((sum, v) => {
          const product = load(k.vector, y, next + v * k.vectorBytes);
          k.set(sum, fma(load(k.vector, x, next + v * k.vectorBytes), product, sum));
        });
      }
      advance(k, [[x, 2 * row], [y, 2 * row]]);
    });
    total.forEach((sum, v) => k.store(sum, further(to, bytes), v * k.vectorBytes));
  });
}
