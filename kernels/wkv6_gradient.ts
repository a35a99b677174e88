/**
 * Gradient of the RWKV-6 recurrence, by chunks (wkv6_block.ts) from the last to the first, with dS
 * the gradient of the state after a chunk and S the state before it, which was kept. For a token t,
 * with G the gradient of the state after it:
 *
 *     dr = S after t·dy, dk = G·v, dv = k·G, dw = Σ over values of G⊙S before t
 *
 * where G = diag(P(t, end))·dS + Σ_τ≥t (rᵣ⊙P(t, τ))ᵀdyᵣ. What a token τ asks of the state, Q = S·dyᵣ,
 * is followed through the tokens up to τ, where it is dr; so dw is a sum over pairs of tokens of
 * rows, not of states. As in the forward pass, decays are only ever multiplied.
 */

import { WKV_CHUNK } from "../graph/build.ts";
import { contiguousLayout, type Kernel, type OperandLayout } from "./kernel.ts";
import { type Block, kernel } from "./block.ts";
import { add, div, fma, i32, load, mul, offset, rem, splat, sub } from "./language.ts";
import type { KernelCode, Lanes, ValueType } from "./syntax.ts";
import { accumulate, eachColumns, further, storeTile, tileOf } from "./products.ts";
import {
  advance,
  at,
  eachPlace,
  F32,
  headOperand,
  type Index,
  lanesFor,
  type Pointer,
  quadsOf,
  type Rows,
  sums,
  transpose,
  type V,
  variable,
  WIDEST,
  zeros,
} from "./vectors.ts";
import { checkWidth, chunkTokens, headOperands } from "./wkv.ts";
import type { Wkv6Shape } from "./wkv6.ts";
import {
  blockPlaces,
  type BlockPointers,
  decayBlock,
  openBlock,
  readBlock,
  scoreBlock,
  scoresTransposedTimes,
  TOKENS,
} from "./wkv6_block.ts";
import { moveState, rowsTimesState, stateTimesLanes } from "./wkv_products.ts";

/** Gradients in the order of the operands. */
const GRADIENTS = ["r", "w", "k", "v"] as const;
type Name = typeof GRADIENTS[number];

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
  const { batch, time, heads, width, inputs } = shape;
  checkWidth("wkv6_gradient", width);
  const dy = shape.dy ?? contiguousLayout([batch, time, heads, width]);
  const elements = batch * heads * width * width;
  const tokens = batch * time * heads * width;
  return {
    key: `wkv6_gradient ${JSON.stringify([batch, time, heads, width, inputs, dy])}`,
    code: (most) => wkv6GradientCode({ ...shape, dy }, lanesFor(most, width)),
    items: batch * heads,
    scratchBytes: scratchPlaces(width).bytes,
    // Of the recurrence itself and its reverse, token by token.
    flops: 14 * elements * time,
    bytes: F32 * (9 * tokens + (Math.ceil(time / WKV_CHUNK) + 2) * elements),
  };
}

/** Where in scratch memory things lie, in bytes. */
function scratchPlaces(width: number) {
  const row = width * F32;
  let end = 0;
  const take = (bytes: number): number => (end += bytes) - bytes;
  return {
    block: take(blockPlaces(width, true).bytes),
    /** v and dy as [width][tokens], and room for products with them. */
    ...{ vLanes: take(width * LANE_ROW), dyLanes: take(width * LANE_ROW) },
    lanes: take(width * LANE_ROW),
    dv: take(TOKENS * row),
    /** v of a token times dy of every token. */
    grams: take(TOKENS * LANE_ROW),
    /** S·dy before the chunk, dS·v after it, and Σ over values of S⊙dS. */
    ...{ asked: take(TOKENS * row), given: take(TOKENS * row), dots: take(row) },
    /** For a pair of vectors: Q of every token before every token, r on its way back, dw so far. */
    ...{ pairs: take((TOKENS + 1) * TOKENS * WIDEST_PAIR), back: take(TOKENS * WIDEST_PAIR) },
    kept: take(TOKENS * WIDEST_PAIR),
    get bytes() {
      return end;
    },
  };
}

type Scratch = Readonly<Record<Exclude<keyof ReturnType<typeof scratchPlaces>, "bytes">, Pointer>>;

function wkv6GradientCode(
  shape: Wkv6Shape & { dy: OperandLayout },
  lanes: Lanes,
): KernelCode {
  const { batch, time, heads, width, inputs } = shape;
  const row = width * F32;
  const chunks = Math.ceil(time / WKV_CHUNK);
  const matrix = width * row;
  const parameters = {
    ...{ r: "ptr", w: "ptr", k: "ptr", v: "ptr", kept: "ptr", dy: "ptr", dAfter: "ptr" },
    ...{ dr: "ptr", dw: "ptr", dk: "ptr", dv: "ptr", dBefore: "ptr" },
    ...{ scratch: "ptr", begin: "i32", end: "i32" },
  } as const satisfies Record<string, ValueType>;
  return kernel("wkv6_gradient", parameters, (k, args) => {
    const operands = {
      ...headOperands("wkv6_gradient", args, inputs),
      dy: headOperand("wkv6_gradient dy", args.dy, shape.dy),
    };
    const contiguous = contiguousLayout([batch, time, heads, width]);
    const output = (name: Name) =>
      headOperand(`wkv6_gradient d${name}`, args[`d${name}`], contiguous);
    const outputs = { r: output("r"), w: output("w"), k: output("k"), v: output("v") };
    const { bytes: _, ...places } = scratchPlaces(width);
    const scratch = Object.fromEntries(
      Object.entries(places).map(([name, bytes]) => [name, k.let(offset(args.scratch, bytes))]),
    ) as unknown as Scratch;
    const block = openBlock(k, width, scratch.block, true);
    k.for(args.begin, args.end, 1, (item) => {
      const [b, h] = [k.let(div(item, i32(heads))), k.let(rem(item, i32(heads)))];
      const gradient = k.let(at(args.dBefore, item, matrix));
      k.copy(at(args.dAfter, item, matrix), gradient, matrix);
      k.for(0, chunks, 1, (done) => {
        const chunk = k.let(sub(i32(chunks - 1), done));
        const first = k.let(mul(chunk, i32(WKV_CHUNK)));
        const count = chunkTokens(time, first);
        const tokens: Index = typeof count === "number" ? i32(count) : k.let(count);
        const state = k.let(at(at(args.kept, item, chunks * matrix), chunk, matrix));
        const rowsOf = <N extends string>(all: Record<N, typeof outputs.r>) =>
          Object.fromEntries(
            Object.entries<typeof outputs.r>(all).map(([name, of]) => {
              const pointer = k.let(at(of.row(b, h), first, of.timeStride));
              return [name, { first: pointer, stride: of.timeStride, bytes: row }];
            }),
          ) as Record<N, Rows & { bytes: number }>;
        readBlock(k, width, rowsOf(operands), tokens, block);
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
        ofLanes(gradient, scratch.vLanes, scratch.given);
        rowDots(k, width, state, gradient, scratch.dots);
        const more = scoresTransposedTimes(k, width, block, block.dy);
        rowsTimesState(k, width, block.kLate, gradient, scratch.dv, { more });
        moveState(k, width, {
          ...{ from: gradient, to: gradient, decay: block.decay, decayOf: "rows" },
          ...{ left: block.rEarly, right: block.dy },
        });
        const out = rowsOf(outputs);
        k.for(0, tokens, 1, (token) => {
          k.copy(at(scratch.dv, token, row), at(out.v.first, token, out.v.stride), row);
        });
        writeGradients(k, width, tokens, block, scratch, out);
      });
    });
  }, lanes);
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
  out: Readonly<Record<Name, Rows>>,
): void {
  const row = width * F32;
  const pairBytes = PAIR * k.vectorBytes;
  eachColumns(k, width, (bytes, vectors) => {
    const each = Array.from({ length: vectors }, (_, v) => v);
    const column = (rows: Pointer, token: Index) => k.let(further(at(rows, token, row), bytes));
    const read = (from: Pointer) => each.map((v) => k.let(load(k.vector, from, v * k.vectorBytes)));
    const write = (values: readonly V[], to: Pointer) => {
      values.forEach((value, v) => k.store(value, to, v * k.vectorBytes));
    };
    const target = ({ first, stride }: Rows, token: Index) =>
      k.let(further(at(first, token, stride), bytes));
    const pairAt = (token: Index, later: Index) =>
      at(scratch.pairs, add(mul(token, i32(TOKENS)), later), pairBytes);
    const gramAt = (token: Index, later: Index) =>
      at(at(scratch.grams, token, LANE_ROW), later, F32);

    k.for(0, tokens, 1, (token) => {
      write(read(column(scratch.asked, token)), k.let(pairAt(i32(0), token)));
      write(read(column(block.r, token)), k.let(at(scratch.back, token, pairBytes)));
    });

    // Forward: Q of every later token, and Σ over values of S⊙dS.
    const dots = read(k.let(further(scratch.dots, bytes))).map((value) => variable(k, value));
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
      const kept = read(k.let(at(scratch.kept, token, pairBytes)));
      const dw = kept.map((value) => variable(k, value));
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
