/**
 * Gradient of the RWKV-7 recurrence, by blocks of eight tokens (wkv7_block.ts).
 *
 * From the last chunk to the first: forward through its blocks from the state that was kept, then
 * back through them with dS, the gradient of the state after a block. For a token t of a block, with
 * G the gradient of the state after it:
 *
 *     du = G·b, dv = G·k, dk = v·G, db = u·G, dr = dy·S after, dκ = du·S before
 *     dw = Σ over rows of G⊙S before
 *
 * where G = dS·P(t, end) + Σ_τ≥t (dy_τ r_τ + du_τ κ_τ)·P(t, τ). What a later token τ asks of the
 * state, Q = dy_τ·S and R = du_τ·S, is followed through the tokens before it, so that dw is a sum
 * over pairs of tokens of rows, not of states.
 */

import { WKV_CHUNK } from "../../graph/build.ts";
import type { Block } from "../language/block.ts";
import type { Kernel, OperandLayout } from "../kernel.ts";
import {
  add,
  div,
  fma,
  i32,
  lessThan,
  load,
  min,
  mul,
  neg,
  splat,
  sub,
} from "../language/language.ts";
import { eachColumns, further } from "../products.ts";
import { scratchLayout, scratchPointers } from "../scratch.ts";
import {
  advance,
  at,
  F32,
  FOUR,
  type Index,
  type Pointer,
  type Rows,
  variable,
  WIDEST,
} from "../language/vectors.ts";
import { WKV7_INPUTS, type Wkv7Name, type Wkv7Shape } from "./wkv7.ts";
import {
  type BlockPointers,
  blockScratch,
  decayBlock,
  readBlock,
  scoreBlock,
  TOKENS,
} from "./wkv7_block.ts";
import { columnProducts, gramBlock, solveGradients, solveU } from "./wkv7_products.ts";
import { columnAccess, type GradientChunk, wkvGradient } from "./gradient.ts";
import { moveState, rowsTimesState } from "./products.ts";

/** What a block is made of. */
const INPUTS = [...WKV7_INPUTS, "dy"] as const;

/** Blocks of a chunk. */
const BLOCKS = WKV_CHUNK / TOKENS;

/** Vectors that a pair of tokens keeps for a pair of vectors: Q and R. */
const PAIR = 4;

/**
 * Operands r, w, k, v, kappa, a, chunk states, dy, dstate → dr, dw, dk, dv, dkappa, da, dstate. The
 * two dstates may be one memory. `dy` tells how dy lies, contiguous where it is missing.
 */
export function wkv7Gradient(shape: Wkv7Shape & { dy?: OperandLayout }): Kernel {
  const { width } = shape;
  const layout = gradientScratch(width);
  return wkvGradient(shape, {
    op: "wkv7_gradient",
    names: WKV7_INPUTS,
    flops: 28,
    scratchBytes: layout.bytes,
    write: (k, base) => {
      const scratch = scratchPointers(k, base, layout);
      return (chunk) => writeChunk(k, width, scratch, chunk);
    },
  });
}

/** What a chunk needs of scratch memory. */
function gradientScratch(width: number) {
  const row = width * F32;
  return scratchLayout({
    blocks: BLOCKS * blockScratch(width).bytes,
    /** The state between the blocks of a chunk. */
    state: (BLOCKS - 1) * width * row,
    lanes: 2 * width * TOKENS * F32,
    dv: TOKENS * row,
    grams: TOKENS * TOKENS * FOUR,
    /** dy·S and du·S before the block, then v·dS and u·dS after it, and Σ S⊙dS. */
    ...{ asked: 2 * TOKENS * row, given: 2 * TOKENS * row, columns: row },
    pairs: TOKENS * TOKENS * PAIR * WIDEST,
  });
}

type Scratch = Readonly<Record<keyof ReturnType<typeof gradientScratch>["places"], Pointer>>;

/** All that a chunk gives, and the gradient of the state before it. */
function writeChunk(
  k: Block,
  width: number,
  scratch: Scratch,
  { tokens, state: kept, dState, inputs, gradients }: GradientChunk<Wkv7Name>,
): void {
  const layout = blockScratch(width);
  const blocks = k.let(div(add(tokens, i32(TOKENS - 1)), i32(TOKENS)));
  const blockAt = (index: Index) =>
    scratchPointers(k, k.let(at(scratch.blocks, index, layout.bytes)), layout);
  const firstOf = (index: Index) => mul(index, i32(TOKENS));
  const tokensOf = (index: Index) => k.let(min(sub(tokens, firstOf(index)), i32(TOKENS)));
  const state = variable(k, kept);
  k.for(0, blocks, 1, (index) => {
    const block = blockAt(index);
    readBlock(k, width, inputs(INPUTS, firstOf(index)), tokensOf(index), block);
    decayBlock(k, width, block);
    scoreBlock(k, width, block);
    solveU(k, width, state, block, scratch.lanes);
    k.if(lessThan(add(index, i32(1)), blocks), () => {
      moveState(k, width, {
        ...{ from: state, to: scratch.state, decay: block.decay, decayOf: "columns" },
        ...{ left: block.v, right: block.kLate },
      });
      k.set(state, scratch.state);
    });
  });
  k.for(0, blocks, 1, (done) => {
    const index = k.let(sub(sub(blocks, i32(1)), done));
    const block = blockAt(index);
    solveGradients(k, width, dState, block, scratch.dv, scratch.lanes);
    gramBlock(k, width, block, scratch.grams);
    rowsTimesState(k, width, block.dy, state, scratch.asked);
    rowsTimesState(k, width, block.v, dState, scratch.given);
    columnProducts(k, width, state, dState, scratch.columns);
    moveState(k, width, {
      ...{ from: dState, to: dState, decay: block.decay, decayOf: "columns" },
      ...{ left: block.dy, right: block.rEarly },
    });
    const out = gradients(firstOf(index));
    const { a } = inputs(["a"], firstOf(index));
    const own = tokensOf(index);
    k.for(0, own, 1, (token) => {
      const row = width * F32;
      k.copy(at(scratch.dv, token, row), at(out.v.first, token, out.v.stride), row);
    });
    writeGradients(k, width, own, block, scratch, a, out);
    k.set(state, kept);
  });
}

/** Gathers and writes all gradients of a block but dv, a pair of vectors at a time. */
function writeGradients(
  k: Block,
  width: number,
  tokens: Index,
  block: BlockPointers,
  scratch: Scratch,
  a: Rows,
  out: Readonly<Record<Wkv7Name, Rows>>,
): void {
  const row = width * F32;
  const pairBytes = PAIR * k.vectorBytes;
  eachColumns(k, width, (bytes, vectors) => {
    const { each, column, target, read, write, held } = columnAccess(k, width, bytes, vectors);
    const gram = (from: Pointer) =>
      [0, 1, 2, 3].map((i) => k.let(splat(load("f32", from, i * F32), k.vector)));

    // Q and R of every token before every token that it asks of.
    k.for(0, tokens, 1, (later) => {
      const q = held(read(column(scratch.asked, later)));
      const r = held(read(column(scratch.asked, add(later, i32(TOKENS)))));
      const pair = variable(k, at(scratch.pairs, mul(later, i32(TOKENS)), pairBytes));
      const scalars = variable(k, at(scratch.grams, mul(later, i32(TOKENS)), FOUR));
      const [w, key, b] = [block.w, block.k, block.b].map((rows) =>
        variable(k, further(rows, bytes))
      );
      k.for(0, add(later, i32(1)), 1, () => {
        write(q, pair);
        write(r, pair, 2 * k.vectorBytes);
        const [yv, yu, dv, du] = gram(scalars);
        const [ws, ks, bs] = [w, key, b].map((from) => read(from));
        for (const v of each) {
          k.set(q[v], fma(yu, bs[v], fma(yv, ks[v], mul(q[v], ws[v]))));
          k.set(r[v], fma(du, bs[v], fma(dv, ks[v], mul(r[v], ws[v]))));
        }
        advance(k, [[pair, pairBytes], [scalars, FOUR], [w, row], [key, row], [b, row]]);
      });
      write(q, target(out.r, later));
    });

    const columns = held(read(k.let(further(scratch.columns, bytes))));
    k.for(0, tokens, 1, (token) => {
      const late = read(column(block.late, token));
      const [givenV, givenU] = [0, TOKENS].map((from) =>
        read(column(scratch.given, add(token, i32(from))))
      );
      const dk = held(each.map((v) => mul(givenV[v], late[v])));
      const db = held(each.map((v) => mul(givenU[v], late[v])));
      const dw = held(each.map((v) => mul(columns[v], late[v])));
      const own = mul(token, i32(TOKENS + 1));
      const pair = variable(k, at(scratch.pairs, own, pairBytes));
      const scalars = variable(k, at(scratch.grams, own, FOUR));
      const [r, kappa] = [block.rBack, block.kappaBack].map((rows) =>
        variable(k, column(rows, own))
      );
      const kappaAsked = read(pair, 2 * k.vectorBytes);
      k.for(token, tokens, 1, () => {
        const [yv, yu, dv, du] = gram(scalars);
        for (const v of each) {
          const [rs, ks] = [r, kappa].map((from) => k.let(load(k.vector, from, v * k.vectorBytes)));
          k.set(dk[v], fma(dv, ks, fma(yv, rs, dk[v])));
          k.set(db[v], fma(du, ks, fma(yu, rs, db[v])));
          const [q, asked] = [0, 2].map((at) => load(k.vector, pair, (at + v) * k.vectorBytes));
          k.set(dw[v], fma(asked, ks, fma(q, rs, dw[v])));
        }
        advance(k, [
          ...[[pair, TOKENS * pairBytes], [scalars, TOKENS * FOUR]] as const,
          ...[[r, TOKENS * row], [kappa, TOKENS * row]] as const,
        ]);
      });
      const [ws, ks, bs, kappas] = [block.w, block.k, block.b, block.kappa].map((rows) =>
        read(column(rows, token))
      );
      for (const v of each) {
        const kept = mul(columns[v], ws[v]);
        k.set(columns[v], fma(givenU[v], bs[v], fma(givenV[v], ks[v], kept)));
      }
      write(dk, target(out.k, token));
      write(dw, target(out.w, token));
      const minusDb = db.map((value) => k.let(neg(value)));
      write(each.map((v) => mul(minusDb[v], kappas[v])), target(out.a, token));
      const as = read(target(a, token));
      write(each.map((v) => fma(minusDb[v], as[v], kappaAsked[v])), target(out.kappa, token));
    });
  });
}
