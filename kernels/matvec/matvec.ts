/**
 * Products of a few rows with a matrix, as decoding makes them: nothing is packed, the matrix is read
 * once, in order.
 */

import type { Epilogue } from "../../graph/step.ts";
import { isBlocked } from "../../graph/tensor.ts";
import { blockMatvecKernel } from "./blocks.ts";
import type { Kernel, MatmulShape } from "../kernel.ts";
import { type Block, kernel } from "../language/block.ts";
import {
  add,
  constant,
  equal,
  fma,
  i32,
  load,
  loadBf16,
  mul,
  shuffle,
  splat,
} from "../language/language.ts";
import type { Expr, KernelCode, Lanes } from "../language/syntax.ts";
import {
  epilogueKey,
  productCost,
  productParameters,
  type ProductTarget,
  storeRow,
} from "../matmul/result.ts";
import {
  at,
  F32,
  type Index,
  type Pointer,
  prefetchRange,
  READ_AHEAD,
  sumsOfSome,
  type V,
  zeros,
} from "../language/vectors.ts";
import { weightRowBytes } from "../weights/weights.ts";

/** The most rows of which products are done so, from there on packing pays; and where rows lie along n. */
export const MOST_ROWS = 8;
const MOST_ROWS_ACROSS = 4;
/** Columns of a work item: where they lie along k, and where rows lie along n. */
const ITEM = { along: 16, across: 32 };
/** Sums that do not wait for one another. */
const CHAINS = 4;

/** Whether a product is better done by reading the matrix as it lies. */
export function isMatvec({ batch, m, a, b }: MatmulShape): boolean {
  if (batch !== 1 || a.kStride !== 1) return false;
  return b.kStride === 1 ? m <= MOST_ROWS : b.nStride === 1 && m <= MOST_ROWS_ACROSS;
}

const orderOf = ({ b }: MatmulShape) => b.kStride === 1 ? "along" : "across";

/** The kernel; operands as those of `matmulKernel`, `dots` as of `blockMatvecKernel`. */
export function matvecKernel(shape: MatmulShape, epilogue?: Epilogue, dots = false): Kernel {
  const { weight } = shape;
  if (weight !== undefined && isBlocked(weight)) {
    return blockMatvecKernel(shape, weight, epilogue, dots);
  }
  return {
    key: JSON.stringify(["matvec", shape, epilogueKey(epilogue)]),
    code: (lanes) => matvecCode(shape, lanes, epilogue),
    items: Math.ceil(shape.n / ITEM[orderOf(shape)]),
    scratchBytes: 0,
    streams: {
      operand: 1,
      itemBytes: ITEM[orderOf(shape)] * weightRowBytes(weight ?? "f32", shape.k),
    },
    ...productCost(shape, epilogue),
  };
}

type Args = Readonly<Record<string, Pointer>>;

function matvecCode(shape: MatmulShape, lanes: Lanes, epilogue?: Epilogue): KernelCode {
  const { n } = shape;
  const order = orderOf(shape);
  const size = ITEM[order];
  return kernel("matvec", productParameters(epilogue), (k, all) => {
    const args = all as unknown as Args;
    const target: ProductTarget = { shape, epilogue, args };
    const four = k.withLanes(4);
    const part = (block: Block, column: Index, columns: number) => {
      const products = order === "along"
        ? along(k, shape, args, column, columns)
        : across(block, shape, args, column, columns);
      products.forEach((vectors, row) => {
        const place = { batch: i32(0), row: i32(row), column, columns };
        storeRow(block, target, place, (j) => vectors[j]);
      });
    };
    const run = (first: Index, columns: number) => {
      let done = 0;
      const wide = order === "along" ? [] : [[k, 2 * k.lanes]] as const;
      for (const [block, width] of [...wide, [four, 4] as const]) {
        const end = columns - (columns - done) % width;
        k.for(done, end, width, (c) => part(block, k.let(add(first, c)), width));
        done = end;
      }
      if (done < columns) part(four, k.let(add(first, i32(done))), columns - done);
    };
    k.for(all.begin, all.end, 1, (item) => {
      const first = k.let(mul(item, i32(size)));
      const left = n % size;
      if (left === 0) run(first, size);
      else {k.if(equal(item, i32(Math.floor(n / size))), () =>
          run(first, left), () =>
          run(first, size));}
    });
  }, lanes);
}

/**
 * Up to four columns of the matrix that lie along k, one after another, so that memory is read in
 * order: for every row a vector of four.
 */
function along(
  k: Block,
  { m, k: length, a, b, weight }: MatmulShape,
  args: Args,
  column: Index,
  columns: number,
): V[][] {
  const { read, bytes } = weight === "bf16"
    ? { read: loadBf16, bytes: 2 }
    : { read: load, bytes: F32 };
  const unroll = Math.max(1, Math.floor(CHAINS / m));
  const whole = length - length % k.lanes;
  const wide = length - length % (unroll * k.lanes);
  const four = k.withLanes(4);
  const start = k.let(at(args.b, column, b.nStride * bytes));
  const products = Array.from({ length: m }, () => ({ wholes: [] as V[], rests: [] as V[] }));
  for (let c = 0; c < columns; c++) {
    const chains = products.map(() => zeros(k, unroll));
    const step = (vectors: number) => (x: Index) => {
      const [fromA, fromB] = [k.let(at(args.a, x, F32)), k.let(at(start, x, bytes))];
      const first = c * b.nStride * bytes;
      prefetchRange(k, fromB, first + READ_AHEAD, vectors * k.lanes * bytes, 2);
      for (let v = 0; v < vectors; v++) {
        const right = k.let(read(k.vector, fromB, first + v * k.lanes * bytes));
        chains.forEach((chain, r) => {
          const left = load(k.vector, fromA, (r * a.mStride + v * k.lanes) * F32);
          k.set(chain[v], fma(left, right, chain[v]));
        });
      }
    };
    k.for(0, wide, unroll * k.lanes, step(unroll));
    k.for(wide, whole, k.lanes, step(1));
    products.forEach(({ wholes, rests }, r) => {
      wholes.push(k.let(chains[r].reduce((x, y) => k.let(add(x, y)))));
      if (whole === length) return;
      const [rest] = zeros(four, 1);
      for (let x = whole; x < length;) {
        const type = length - x >= 4 ? "f32x4" : "f32";
        const left = load(type, args.a, (r * a.mStride + x) * F32);
        const right = read(type, start, (c * b.nStride + x) * bytes);
        const product = mul<"f32" | "f32x4">(left, right);
        const lanes = type === "f32x4" ? product as V : firstLane(product as Expr<"f32">);
        k.set(rest, add(rest, lanes));
        x += type === "f32x4" ? 4 : 1;
      }
      rests.push(rest);
    });
  }
  return products.map(({ wholes, rests }) => {
    const total = sumsOfSome(k, wholes);
    return [rests.length === 0 ? total : k.let(add(total, sumsOfSome(four, rests)))];
  });
}

/** A vector with one value in its first lane and zeros. */
const firstLane = (value: Expr<"f32">): V =>
  shuffle(splat(value), constant("f32x4", 0), [0, 4, 4, 4]);

/**
 * Rows of the matrix lie along n: multiples of parts of rows are added up, by vectors. Of a long
 * matrix the rows after these are asked for, of a short one the columns after these.
 */
function across(
  k: Block,
  { m, k: length, a, b }: MatmulShape,
  args: Args,
  column: Index,
  columns: number,
): V[][] {
  const vectors = Math.ceil(columns / k.lanes);
  const unroll = Math.max(1, Math.floor(CHAINS / m));
  const start = k.let(at(args.b, column, F32));
  const chains = Array.from(
    { length: m },
    () => Array.from({ length: unroll }, () => zeros(k, vectors)),
  );
  const row = b.kStride * F32;
  const rowsAhead = READ_AHEAD / (columns * F32);
  const ahead = length >= 2 * rowsAhead ? rowsAhead * row : columns * F32;
  const step = (count: number) => (x: Index) => {
    const [from, left] = [k.let(at(start, x, row)), k.let(at(args.a, x, F32))];
    for (let u = 0; u < count; u++) {
      prefetchRange(k, from, u * row + ahead, columns * F32);
      const parts = Array.from(
        { length: vectors },
        (_, v) => k.let(partOf(k, from, u * row + v * k.vectorBytes, columns)),
      );
      chains.forEach((chain, r) => {
        const element = k.let(splat(load("f32", left, (r * a.mStride + u) * F32), k.vector));
        parts.forEach((each, v) => k.set(chain[u][v], fma(element, each, chain[u][v])));
      });
    }
  };
  const whole = length - length % unroll;
  k.for(0, whole, unroll, step(unroll));
  k.for(whole, length, 1, step(1));
  return chains.map((chain) =>
    chain.reduce((x, y) => x.map((vector, v) => k.let(add(vector, y[v]))))
  );
}

/** A vector of a row; fewer than four columns are read one by one. */
function partOf(k: Block, from: Pointer, bytes: number, columns: number): V {
  if (columns >= k.lanes) return load(k.vector, from, bytes);
  const scalar = (c: number) =>
    c < columns ? splat(load("f32", from, bytes + c * F32)) : constant("f32x4", 0);
  const low = shuffle(scalar(0), scalar(1), [0, 4, 0, 4]);
  return shuffle(low, scalar(2), [0, 1, 4, 4]);
}
