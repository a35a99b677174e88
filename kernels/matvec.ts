/**
 * Products of a few rows with a matrix, as decoding makes them: nothing is packed, the matrix is read
 * once, in order.
 */

import type { Epilogue } from "../graph/step.ts";
import { isBlocked } from "../graph/tensor.ts";
import { blockMatvecKernel } from "./block_matvec.ts";
import type { V } from "./body.ts";
import type { Kernel, MatmulShape } from "./kernel.ts";
import {
  add,
  type Block,
  constant,
  equal,
  type Expr,
  fma,
  i32,
  kernel,
  type KernelCode,
  load,
  loadBf16,
  mul,
  offset,
  shuffle,
  splat,
} from "./language.ts";
import {
  epilogueKey,
  productCost,
  productParameters,
  type ProductTarget,
  storeRow,
} from "./matmul_result.ts";
import { transpose4 } from "./packing.ts";
import { at, F32, type Index, type Pointer } from "./vectors.ts";

/** Rows from which on packing pays. */
const MOST_ROWS = 4;
/** Columns of a work item. */
const ITEM = 16;

/** Whether a product is better done by reading the matrix as it lies. */
export function isMatvec({ batch, m, a, b }: MatmulShape): boolean {
  return batch === 1 && m <= MOST_ROWS && a.kStride === 1 && (b.kStride === 1 || b.nStride === 1);
}

/** The kernel; operands as those of `matmulKernel`. */
export function matvecKernel(shape: MatmulShape, epilogue?: Epilogue): Kernel {
  const { weight } = shape;
  if (weight !== undefined && isBlocked(weight)) return blockMatvecKernel(shape, weight, epilogue);
  return {
    key: JSON.stringify(["matvec", shape, epilogueKey(epilogue)]),
    code: () => matvecCode(shape, epilogue),
    items: Math.ceil(shape.n / ITEM),
    scratchBytes: 0,
    ...productCost(shape, epilogue),
  };
}

function matvecCode(shape: MatmulShape, epilogue?: Epilogue): KernelCode {
  const { m, n, b } = shape;
  const groups = b.kStride === 1 ? along : across;
  return kernel("matvec", productParameters(epilogue), (k, all) => {
    const args = all as unknown as Record<string, Pointer>;
    const target: ProductTarget = { shape, epilogue, args };
    const rowsOf = (column: Index, columns: number) => {
      const sums = groups(k, shape, args, column, columns);
      for (let row = 0; row < m; row++) {
        storeRow(k, target, { batch: i32(0), row: i32(row), column, columns }, () => sums[row]);
      }
    };
    k.for(all.begin, all.end, 1, (item) => {
      const first = k.let(mul(item, i32(ITEM)));
      const left = n % ITEM;
      const run = (columns: number) => {
        const whole = columns - columns % 4;
        k.for(0, whole, 4, (c) => rowsOf(k.let(add(first, c)), 4));
        if (columns > whole) rowsOf(k.let(add(first, i32(whole))), columns - whole);
      };
      if (left === 0) run(ITEM);
      else k.if(equal(item, i32(Math.floor(n / ITEM))), () => run(left), () => run(ITEM));
    });
  });
}

/** Columns of the matrix lie along k: dot products of rows, two columns at a time. */
function along(
  k: Block,
  { m, k: length, a, b, weight }: MatmulShape,
  args: Readonly<Record<string, Pointer>>,
  column: Index,
  columns: number,
): V[] {
  const read = weight === "bf16"
    ? { vector: loadBf16<"f32x4">, scalar: loadBf16<"f32">, bytes: 2 }
    : { vector: load<"f32x4">, scalar: load<"f32">, bytes: F32 };
  const dots: V[][] = Array.from({ length: m }, () => []);
  const start = k.let(at(args.b, column, b.nStride * read.bytes));
  for (let c = 0; c < columns; c += 2) {
    const pair = Math.min(2, columns - c);
    const rows = Array.from({ length: m }, () => Array.from({ length: pair }, () => zero(k)));
    const unroll = m === 1 ? 4 : 1;
    const step = (vectors: number) => (x: Index) => {
      const [fromA, fromB] = [k.let(at(args.a, x, F32)), k.let(at(start, x, read.bytes))];
      for (let v = 0; v < vectors; v++) {
        const left = rows.map((_, r) => k.let(load("f32x4", fromA, (r * a.mStride + 4 * v) * F32)));
        for (let j = 0; j < pair; j++) {
          const bytes = ((c + j) * b.nStride + 4 * v) * read.bytes;
          const right = k.let(read.vector("f32x4", fromB, bytes));
          rows.forEach((row, r) => {
            const sums = row[j];
            k.set(sums[v], fma(left[r], right, sums[v]));
          });
        }
      }
    };
    const wide = length - length % (4 * unroll);
    const whole = length - length % 4;
    k.for(0, wide, 4 * unroll, step(unroll));
    k.for(wide, whole, 4, step(1));
    rows.forEach((row, r) =>
      row.forEach((sums) => dots[r].push(k.let(add(add(sums[0], sums[1]), add(sums[2], sums[3])))))
    );
    // What is left of k goes to the first lane.
    for (let x = whole; x < length; x++) {
      rows.forEach((row, r) =>
        row.forEach((_, j) => {
          const product = mul(
            load("f32", args.a, (r * a.mStride + x) * F32),
            read.scalar("f32", start, ((c + j) * b.nStride + x) * read.bytes),
          );
          dots[r][c + j] = k.let(add(dots[r][c + j], firstLane(product)));
        })
      );
    }
  }
  return dots.map((row) => {
    const four = [0, 1, 2, 3].map((c) => row[c] ?? constant("f32x4", 0));
    const [x, y, z, w] = transpose4(k, four).map((v) => k.let(v));
    return k.let(add(add(x, y), add(z, w)));
  });
}

/** A vector with one value in its first lane and zeros. */
const firstLane = (value: Expr<"f32">): V =>
  shuffle(splat(value), constant("f32x4", 0), [0, 4, 4, 4]);

/** Four sums, so that additions do not wait for one another. */
function zero(k: Block): V[] {
  return Array.from({ length: 4 }, () => {
    const sum = k.variable("f32x4");
    k.set(sum, constant("f32x4", 0));
    return sum;
  });
}

/** Rows of the matrix lie along n: multiples of rows are added up. */
function across(
  k: Block,
  { m, k: length, a, b }: MatmulShape,
  args: Readonly<Record<string, Pointer>>,
  column: Index,
  columns: number,
): V[] {
  const start = k.let(offset(args.b, mul(column, i32(4))));
  const sums = Array.from({ length: m }, () => zero(k));
  const step = (count: number) => (x: Index) => {
    const from = k.let(offset(start, mul(x, i32(b.kStride * 4))));
    const left = k.let(offset(args.a, mul(x, i32(4))));
    for (let u = 0; u < count; u++) {
      const row = k.let(partOf(from, u * b.kStride * 4, columns));
      sums.forEach((four, r) => {
        const element = splat(load("f32", left, (r * a.mStride + u) * 4));
        k.set(four[u], fma(element, row, four[u]));
      });
    }
  };
  const whole = length - length % 4;
  k.for(0, whole, 4, step(4));
  k.for(whole, length, 1, step(1));
  return sums.map(([x, y, z, w]) => k.let(add(add(x, y), add(z, w))));
}

/** Up to four columns of a row; fewer are read one by one. */
function partOf(from: Pointer, bytes: number, columns: number): V {
  if (columns === 4) return load("f32x4", from, bytes);
  const scalar = (c: number) =>
    c < columns ? splat(load("f32", from, bytes + c * 4)) : constant("f32x4", 0);
  const low = shuffle(scalar(0), scalar(1), [0, 4, 0, 4]);
  return shuffle(low, scalar(2), [0, 1, 4, 4]);
}
