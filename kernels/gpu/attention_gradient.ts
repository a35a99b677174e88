/**
 * Gradient of causal softmax attention on a GPU, from the log-sum-exp that the forward pass kept.
 *
 * With p = exp(score − log-sum-exp), D = do·o and dp = do·v: dscore = p·(dp − D)·scale,
 * dv = Σ p·do, dk = Σ dscore·q, dq = Σ dscore·k (Dao et al., FlashAttention). Some groups have a
 * block of queries and walk its keys for dq; the others have a block of keys and walk its queries for
 * dk and dv. So nothing is added to memory by two, and every sum has one order.
 */

import { seenPairs } from "../attention.ts";
import { add, div, fma, i32, lessThan, min, mul, rem, select, sub } from "../language.ts";
import { exp2 } from "../math.ts";
import {
  attentionBlock,
  contiguousHeads,
  firstBlock,
  type GpuAttentionShape,
  sees,
} from "./attention.ts";
import {
  areWide,
  elementAt,
  type HeadRows,
  headRows,
  type HeadStrides,
  linesOfColumns,
  linesOfRows,
  padded,
} from "./heads.ts";
import type { GpuKernel } from "./kernel.ts";
import {
  f32,
  type Float,
  type GpuBlock,
  gpuKernel,
  type Index,
  type OperandTypes,
  type Place,
} from "./language.ts";
import { FLASH_DEPTH } from "./flash.ts";
import { foldLanes } from "./fold.ts";
import {
  addProduct,
  eachSum,
  LANES,
  productSums,
  type SharedSide,
  shareTile,
  type Stretches,
  stretches,
  type Sums,
  TILE_THREADS,
} from "./products.ts";

/** What the kernel is made for: `dOutput` tells how the output's gradient lies. */
export interface GpuAttentionGradientShape extends GpuAttentionShape {
  readonly dOutput: HeadStrides;
}

/** Operands q, k, v, output, log-sum-exp, doutput → dq, dk, dv, contiguous all but q, k, v, doutput. */
export function attentionGradient(shape: GpuAttentionGradientShape): GpuKernel {
  const { batch, time, heads, kvHeads, width } = shape;
  const rows = batch * time * width;
  const blocks = Math.ceil(time / attentionBlock(time));
  const { q, k, v, dOutput } = shape;
  if (shape.wide === undefined && areWide(width, [q, k, v, dOutput])) {
    const otherwise = attentionGradient({ ...shape, wide: false });
    return {
      ...attentionGradient({ ...shape, wide: true }),
      aligned: { operands: [0, 1, 2, 5], otherwise },
    };
  }
  return {
    key: `attention_gradient ${JSON.stringify(shape)}`,
    code: () => attentionGradientCode(shape),
    groups: batch * (heads + kvHeads) * blocks,
    flops: 14 * batch * heads * seenPairs(time, shape.window) * width,
    bytes: 4 * (4 * rows * (heads + kvHeads) + batch * heads * time),
  };
}

const OPERANDS = {
  ...{ q: "f32", k: "f32", v: "f32", output: "f32", logSumExp: "f32", dOutput: "f32" },
  ...{ dq: "+f32", dk: "+f32", dv: "+f32" },
} as const satisfies OperandTypes;

/** What both kinds of group work with. */
interface Context {
  readonly k: GpuBlock;
  readonly shape: GpuAttentionGradientShape;
  readonly block: number;
  readonly places: Readonly<Record<keyof typeof OPERANDS, Place<"f32">>>;
  readonly room: Stretches;
  /** [columns of scores][rows of scores], rows of `pitch`. */
  readonly tile: Place<"f32">;
  readonly pitch: number;
  /** Scores and their gradients, of the block's rows. */
  readonly scores: Sums;
  readonly dWeights: Sums;
}

function attentionGradientCode(shape: GpuAttentionGradientShape) {
  const { batch, time, heads, width } = shape;
  const block = attentionBlock(time);
  const blocks = Math.ceil(time / block);
  return gpuKernel("attention_gradient", TILE_THREADS, OPERANDS, (k, places) => {
    const pitch = block + 4;
    const context: Context = {
      ...{ k, shape, block, places, pitch },
      room: stretches(k, block + Math.max(block, padded(width)), FLASH_DEPTH),
      tile: k.shared("f32", Math.max(block * pitch, block / LANES * TILE_THREADS)),
      scores: productSums(k, block, block),
      dWeights: productSums(k, block, block),
    };
    const queryGroups = batch * heads * blocks;
    k.if(
      lessThan(k.group, i32(queryGroups)),
      () => queryBlock(context, k.group, blocks),
      () => keyBlock(context, k.let(sub(k.group, i32(queryGroups))), blocks),
    );
  });
}

/** The operands of a query head, and of the key/value head that it reads. */
function headOperands({ k, shape, places }: Context, b: Index, h: Index, kv: Index) {
  const { time, heads, kvHeads, width } = shape;
  const own = contiguousHeads(time, heads, width);
  const ofKeys = contiguousHeads(time, kvHeads, width);
  return {
    q: headRows(k, places.q, shape.q, b, h),
    k: headRows(k, places.k, shape.k, b, kv),
    v: headRows(k, places.v, shape.v, b, kv),
    output: headRows(k, places.output, own, b, h),
    dOutput: headRows(k, places.dOutput, shape.dOutput, b, h),
    dq: headRows(k, places.dq, own, b, h),
    dk: headRows(k, places.dk, ofKeys, b, kv),
    dv: headRows(k, places.dv, ofKeys, b, kv),
    norms: k.let(mul(add(mul(b, i32(heads)), h), i32(time))),
  };
}

type Operands = ReturnType<typeof headOperands>;

/** D of a query of a row of threads: each of them adds some columns of do·o. */
function dotParts({ k, shape }: Context, { output, dOutput }: Operands, query: Index): Float {
  const { time, width } = shape;
  const sum = k.variable(f32(0));
  const row = k.let(min(query, i32(time - 1)));
  k.for(k.let(rem(k.thread, i32(LANES))), width, LANES, (column) => {
    const [o, d] = [output, dOutput].map((of) => k.read(of.place, elementAt(of, row, column)));
    k.set(sum, fma(o, d, sum));
  });
  return sum;
}

/** The log-sum-exp of a query, in powers of 2. */
function normOf({ k, shape: { time }, places }: Context, { norms }: Operands, query: Index): Float {
  const norm = k.read(places.logSumExp, add(norms, min(query, i32(time - 1))));
  return k.let(mul(norm, f32(Math.LOG2E)));
}

/** Writes what a thread has of a tile of rows. */
function storeRows({ k, shape }: Context, sums: Sums, to: HeadRows, first: Index): void {
  const { time, width } = shape;
  sums.values.forEach((values, r) => {
    const row = k.let(add(first, sums.row(r)));
    k.if(lessThan(row, i32(time)), () => {
      values.forEach((sum, c) => {
        const column = k.let(sums.column(c));
        const store = () => k.write(to.place, elementAt(to, row, column), sum);
        if (width % LANES === 0) store();
        else k.if(lessThan(column, i32(width)), store);
      });
    });
  });
}

const clear = (k: GpuBlock, sums: Sums) => eachSum(sums, (sum) => k.set(sum, f32(0)));

/** Puts values of a thread's block of a tile where all see them: a side of a product. */
function share(
  { k, tile, pitch, block }: Context,
  sums: Sums,
  value: (sum: Float, r: number, c: number) => Float,
): SharedSide {
  shareTile(k, tile, pitch, sums, value);
  return { lines: block, lies: "shared", place: tile, pitch };
}

function queryBlock(context: Context, group: Index, blocks: number): void {
  const { k, shape, block, room, tile, scores, dWeights } = context;
  const { time, heads, kvHeads, width, scale, window } = shape;
  const head = k.let(div(group, i32(blocks)));
  const [b, h] = [k.let(div(head, i32(heads))), k.let(rem(head, i32(heads)))];
  const own = headOperands(context, b, h, k.let(div(h, i32(heads / kvHeads))));
  const first = k.let(mul(rem(group, i32(blocks)), i32(block)));
  const queries = scores.values.map((_, r) => k.let(add(first, scores.row(r))));
  const norms = queries.map((query) => normOf(context, own, query));
  const parts = queries.map((query) => dotParts(context, own, query));
  const dots = foldLanes(k, tile, LANES, parts, (a, b) => add(a, b));
  const dq = productSums(k, block, padded(width));
  const end = k.let(min(add(first, i32(block)), i32(time)));
  k.for(firstBlock(k, first, block, window), end, block, (firstKey) => {
    clear(k, scores);
    clear(k, dWeights);
    const lines = (rows: HeadRows, from: Index) => linesOfRows(k, rows, from, block, shape);
    addProduct(k, room, scores, lines(own.q, first), lines(own.k, firstKey), width);
    addProduct(k, room, dWeights, lines(own.dOutput, first), lines(own.v, firstKey), width);
    const dScores = share(context, scores, (score, r, c) => {
      const key = k.let(add(firstKey, scores.column(c)));
      const weight = exp2(k.let(fma(score, f32(scale * Math.LOG2E), mul(f32(-1), norms[r]))), k);
      const dScore = mul(mul(weight, f32(scale)), sub(dWeights.values[r][c], dots[r]));
      return select(sees(queries[r], key, shape), dScore, f32(0));
    });
    addProduct(k, room, dq, dScores, linesOfColumns(k, own.k, firstKey, shape), block);
  });
  storeRows(context, dq, own.dq, first);
}

function keyBlock(context: Context, group: Index, blocks: number): void {
  const { k, shape, block, room, tile, scores, dWeights } = context;
  const { time, heads, kvHeads, width, scale, window } = shape;
  const members = heads / kvHeads;
  const head = k.let(div(group, i32(blocks)));
  const [b, kv] = [k.let(div(head, i32(kvHeads))), k.let(rem(head, i32(kvHeads)))];
  const first = k.let(mul(rem(group, i32(blocks)), i32(block)));
  const [dk, dv] = [productSums(k, block, padded(width)), productSums(k, block, padded(width))];
  const [dots, norms] = [k.shared("f32", block), k.shared("f32", block)];
  const end = window === undefined
    ? i32(time)
    : k.let(min(add(first, i32(block - 1 + window)), i32(time)));
  k.for(0, members, 1, (member) => {
    const h = k.let(add(mul(kv, i32(members)), member));
    const own = headOperands(context, b, h, kv);
    k.for(first, end, block, (firstQuery) => {
      // Rows of threads take a query each; the first of a row writes what it found.
      const queries = scores.values.map((_, r) => k.let(add(firstQuery, scores.row(r))));
      const parts = queries.map((query) => dotParts(context, own, query));
      const sums = foldLanes(k, tile, LANES, parts, (a, b) => add(a, b));
      queries.forEach((query, r) => {
        const norm = normOf(context, own, query);
        k.if(lessThan(scores.column(0), i32(1)), () => {
          k.write(dots, scores.row(r), sums[r]);
          k.write(norms, scores.row(r), norm);
        });
      });
      clear(k, scores);
      clear(k, dWeights);
      const lines = (rows: HeadRows, from: Index) => linesOfRows(k, rows, from, block, shape);
      addProduct(k, room, scores, lines(own.k, first), lines(own.q, firstQuery), width);
      addProduct(k, room, dWeights, lines(own.v, first), lines(own.dOutput, firstQuery), width);
      const columns = scores.values[0].map((_, c) => k.let(scores.column(c)));
      const weights = share(context, scores, (score, r, c) => {
        const query = k.let(add(firstQuery, columns[c]));
        const seen = k.let(sees(query, k.let(add(first, scores.row(r))), shape));
        const exists = k.let(select(lessThan(query, i32(time)), seen, i32(0)));
        const norm = k.read(norms, columns[c]);
        const bits = k.let(fma(score, f32(scale * Math.LOG2E), mul(f32(-1), norm)));
        const weight = k.let(select(exists, exp2(bits, k), f32(0)));
        k.set(score, weight);
        return weight;
      });
      addProduct(k, room, dv, weights, linesOfColumns(k, own.dOutput, firstQuery, shape), block);
      const dScores = share(context, scores, (weight, r, c) => {
        const dot = k.read(dots, columns[c]);
        return mul(mul(weight, f32(scale)), sub(dWeights.values[r][c], dot));
      });
      addProduct(k, room, dk, dScores, linesOfColumns(k, own.q, firstQuery, shape), block);
    });
  });
  const own = headOperands(context, b, k.let(mul(kv, i32(members))), kv);
  storeRows(context, dk, own.dk, first);
  storeRows(context, dv, own.dv, first);
}
