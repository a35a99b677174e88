/**
 * Gradient of causal softmax attention on a GPU, from the log-sum-exp that the forward pass kept.
 *
 * With p = exp(score − log-sum-exp), D = do·o and dp = do·v: dscore = p·(dp − D)·scale,
 * dv = Σ p·do, dk = Σ dscore·q, dq = Σ dscore·k (Dao et al., FlashAttention). Some groups have a
 * block of queries and walk its keys for dq; the others have a block of keys and walk its queries for
 * dk and dv. So nothing is added to memory by two, and every sum has one order.
 */

import { seenPairs } from "../../attention/attention.ts";
import {
  add,
  bitAnd,
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
import { exp2 } from "../../language/math.ts";
import { firstBlock, type GpuAttentionShape, sees } from "./attention.ts";
import {
  type AttentionBlock,
  attentionBlock,
  type AttentionProducts,
  withProducts,
} from "./products.ts";
import { type GpuBlock, gpuKernel, type OperandTypes } from "../block.ts";
import {
  areWide,
  contiguousHeads,
  elementAt,
  type HeadRows,
  headRows,
  type HeadStrides,
  linesOfColumns,
  linesOfRows,
} from "../heads.ts";
import type { GpuKernel } from "../kernel.ts";
import { f32, type Float, type Index, type Place } from "../language.ts";
import { foldLanes } from "../fold.ts";
import { eachSum, LANES, type Sums } from "../matmul/products.ts";

/** What the kernel is made for: `dOutput` tells how the output's gradient lies. */
export interface GpuAttentionGradientShape extends GpuAttentionShape {
  readonly dOutput: HeadStrides;
}

/** Operands q, k, v, output, log-sum-exp, doutput → dq, dk, dv, contiguous all but q, k, v, doutput. */
export function attentionGradient(shape: GpuAttentionGradientShape): GpuKernel {
  const { batch, time, heads, kvHeads, width } = shape;
  const rows = batch * time * width;
  const blocks = Math.ceil(time / attentionBlock(time).rows);
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

/** Heads beyond which the sums of four tiles on tensor cores do not fit the registers of a thread. */
const WIDEST_TENSOR = 96;

/** The block of a group; on tensor cores with fewer columns, where sums take most registers. */
function gradientBlock({ time, width, numbers }: GpuAttentionGradientShape): AttentionBlock {
  const own = attentionBlock(time, width <= WIDEST_TENSOR ? numbers : "f32");
  const most = width <= 64 ? 32 : 16;
  return own.numbers === "f32" ? own : { ...own, columns: Math.min(own.columns, most) };
}

/** What both kinds of group work with. */
interface Context<S extends Sums> {
  readonly k: GpuBlock;
  readonly shape: GpuAttentionGradientShape;
  readonly block: AttentionBlock;
  readonly places: Readonly<Record<keyof typeof OPERANDS, Place<"f32">>>;
  readonly products: AttentionProducts<S>;
  /** Scores and their gradients, of the block's rows. */
  readonly scores: S;
  readonly dWeights: S;
}

function attentionGradientCode(shape: GpuAttentionGradientShape) {
  const { batch, time, heads, width } = shape;
  const block = gradientBlock(shape);
  const blocks = Math.ceil(time / block.rows);
  const name = block.numbers === "tf32" ? "attention_gradient_tf32" : "attention_gradient";
  const run = <S extends Sums>(context: Omit<Context<S>, "scores" | "dWeights">) => {
    const { k, products } = context;
    const all = { ...context, scores: products.scores(), dWeights: products.scores() };
    const queryGroups = batch * heads * blocks;
    k.if(
      lessThan(k.group, i32(queryGroups)),
      () => queryBlock(all, k.group, blocks),
      () => keyBlock(all, k.let(sub(k.group, i32(queryGroups))), blocks),
    );
  };
  return gpuKernel(name, block.threads, OPERANDS, (k, places) => {
    withProducts(k, block, width, (products) => run({ k, shape, block, places, products }));
  });
}

/** The operands of a query head, and of the key/value head that it reads. */
function headOperands<S extends Sums>(
  { k, shape, places }: Context<S>,
  b: Index,
  h: Index,
  kv: Index,
) {
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
function dotParts<S extends Sums>(
  { k, shape, products }: Context<S>,
  { output, dOutput }: Operands,
  query: Index,
): Float {
  const { time, width } = shape;
  const sum = k.variable(f32(0));
  const row = k.let(min(query, i32(time - 1)));
  k.for(products.lane, width, products.lanes, (column) => {
    const [o, d] = [output, dOutput].map((of) => k.read(of.place, elementAt(of, row, column)));
    k.set(sum, fma(o, d, sum));
  });
  return sum;
}

/** The log-sum-exp of a query, in powers of 2. */
function normOf<S extends Sums>(
  { k, shape: { time }, places }: Context<S>,
  { norms }: Operands,
  query: Index,
): Float {
  const norm = k.read(places.logSumExp, add(norms, min(query, i32(time - 1))));
  return k.let(mul(norm, f32(Math.LOG2E)));
}

/** Writes what a thread has of a tile of rows. */
function storeRows<S extends Sums>(
  { k, shape }: Context<S>,
  sums: S,
  to: HeadRows,
  first: Index,
): void {
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

function queryBlock<S extends Sums>(context: Context<S>, group: Index, blocks: number): void {
  const { k, shape, block, products, scores, dWeights } = context;
  const { time, heads, kvHeads, width, scale, window } = shape;
  const head = k.let(div(group, i32(blocks)));
  const [b, h] = [k.let(div(head, i32(heads))), k.let(rem(head, i32(heads)))];
  const own = headOperands(context, b, h, k.let(div(h, i32(heads / kvHeads))));
  const first = k.let(mul(rem(group, i32(blocks)), i32(block.rows)));
  const queries = scores.values.map((_, r) => k.let(add(first, scores.row(r))));
  const norms = queries.map((query) => normOf(context, own, query));
  const parts = queries.map((query) => dotParts(context, own, query));
  const { lanes, scratch } = products;
  const dots = foldLanes(k, scratch, lanes, parts, (a, b) => add(a, b));
  const dq = products.mixed();
  const end = k.let(min(add(first, i32(block.rows)), i32(time)));
  k.for(firstBlock(k, first, block.columns, window), end, block.columns, (firstKey) => {
    clear(k, scores);
    clear(k, dWeights);
    const queryLines = (rows: HeadRows) => linesOfRows(k, rows, first, block.rows, shape);
    const keyLines = (rows: HeadRows) => linesOfRows(k, rows, firstKey, block.columns, shape);
    products.addScores(scores, queryLines(own.q), keyLines(own.k), width);
    products.addScores(dWeights, queryLines(own.dOutput), keyLines(own.v), width);
    const dScore = (score: Float, r: number, c: number) => {
      const key = k.let(add(firstKey, scores.column(c)));
      const weight = exp2(k.let(fma(score, f32(scale * Math.LOG2E), mul(f32(-1), norms[r]))), k);
      const change = mul(mul(weight, f32(scale)), sub(dWeights.values[r][c], dots[r]));
      return select(sees(queries[r], key, shape), change, f32(0));
    };
    products.addMixed(dq, scores, dScore, linesOfColumns(k, own.k, firstKey, shape));
  });
  storeRows(context, dq, own.dq, first);
}

function keyBlock<S extends Sums>(context: Context<S>, group: Index, blocks: number): void {
  const { k, shape, block, products, scores, dWeights } = context;
  const { time, heads, kvHeads, width, scale, window } = shape;
  const members = heads / kvHeads;
  const head = k.let(div(group, i32(blocks)));
  const [b, kv] = [k.let(div(head, i32(kvHeads))), k.let(rem(head, i32(kvHeads)))];
  const first = k.let(mul(rem(group, i32(blocks)), i32(block.rows)));
  const [dk, dv] = [products.mixed(), products.mixed()];
  const [dots, norms] = [k.shared("f32", block.columns), k.shared("f32", block.columns)];
  const end = window === undefined
    ? i32(time)
    : k.let(min(add(first, i32(block.rows - 1 + window)), i32(time)));
  k.for(0, members, 1, (member) => {
    const h = k.let(add(mul(kv, i32(members)), member));
    const own = headOperands(context, b, h, kv);
    k.for(first, end, block.columns, (firstQuery) => {
      // Rows of threads take a query each; the first of a row writes what it found.
      const queries = scores.values.map((_, r) => k.let(add(firstQuery, scores.row(r))));
      const parts = queries.map((query) => dotParts(context, own, query));
      const sums = foldLanes(
        k,
        products.scratch,
        products.lanes,
        parts,
        (a, b) => add(a, b),
      );
      queries.forEach((query, r) => {
        const norm = normOf(context, own, query);
        const first = lessThan(scores.column(0), i32(1));
        const inside = lessThan(scores.row(r), i32(block.columns));
        k.if(block.columns < block.rows ? bitAnd(first, inside) : first, () => {
          k.write(dots, scores.row(r), sums[r]);
          k.write(norms, scores.row(r), norm);
        });
      });
      clear(k, scores);
      clear(k, dWeights);
      const keyLines = (rows: HeadRows) => linesOfRows(k, rows, first, block.rows, shape);
      const queryLines = (rows: HeadRows) => linesOfRows(k, rows, firstQuery, block.columns, shape);
      products.addScores(scores, keyLines(own.k), queryLines(own.q), width);
      products.addScores(dWeights, keyLines(own.v), queryLines(own.dOutput), width);
      const columns = scores.values[0].map((_, c) => k.let(scores.column(c)));
      const weightOf = (score: Float, r: number, c: number) => {
        const query = k.let(add(firstQuery, columns[c]));
        const seen = k.let(sees(query, k.let(add(first, scores.row(r))), shape));
        const exists = k.let(select(lessThan(query, i32(time)), seen, i32(0)));
        const norm = k.read(norms, columns[c]);
        const bits = k.let(fma(score, f32(scale * Math.LOG2E), mul(f32(-1), norm)));
        const weight = k.let(select(exists, exp2(bits, k), f32(0)));
        k.set(score, weight);
        return weight;
      };
      products.addMixed(dv, scores, weightOf, linesOfColumns(k, own.dOutput, firstQuery, shape));
      const dScore = (weight: Float, r: number, c: number) => {
        const dot = k.read(dots, columns[c]);
        return mul(mul(weight, f32(scale)), sub(dWeights.values[r][c], dot));
      };
      products.addMixed(dk, scores, dScore, linesOfColumns(k, own.q, firstQuery, shape));
    });
  });
  const own = headOperands(context, b, k.let(mul(kv, i32(members))), kv);
  storeRows(context, dk, own.dk, first);
  storeRows(context, dv, own.dv, first);
}
