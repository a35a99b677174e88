/**
 * GPU kernels of products of few rows with a matrix, as decoding makes them: memory is read once, as
 * it lies, by threads side by side. Those of a column share its length; their sums meet in a tree of
 * one order.
 */

import type { Epilogue } from "../../graph/step.ts";
import { isBlocked, WEIGHT_BLOCK } from "../../graph/tensor.ts";
import type { MatmulShape } from "../kernel.ts";
import {
  add,
  div,
  fma,
  i32,
  lessThan,
  min,
  mul,
  rem,
  select,
  shiftRight,
  sub,
} from "../language.ts";
import { epilogueKey, productCost } from "../matmul_result.ts";
import { TILE_ROWS } from "../weights.ts";
import type { GpuKernel } from "./kernel.ts";
import { f32, type Float, type GpuBlock, gpuKernel, type Index, type Place } from "./language.ts";
import { resultOperands, storeElements } from "./matmul.ts";
import {
  bf16Pair,
  blockWords,
  quant4,
  scaleAt,
  signedBytes,
  type StoredMatrix,
  tileRows,
} from "./weights.ts";

/** Threads of a group. */
const THREADS = 256;
/** Rows of a product at most: with more, tiles that lie in shared memory read less. */
const MOST_ROWS = 64;
/** Rows that a thread has sums of. */
const ROWS = 8;
/** Sums of a thread at most. */
const SUMS = 32;
/** Words that a thread reads before it needs the first, at most. */
const IN_FLIGHT = 12;
/** Products of a thread that are written out one after another: more take drivers long to compile. */
const UNROLLED = 256;
/** Groups that make all of a large GPU busy. */
const GROUPS = 1024;

/** Groups of a product beyond which it is no small one. */
const SMALL = 2048;

/** Whether a product is better done by reading the matrix as it lies. */
export function isMatvec({ batch, m, k, a, b, weight }: MatmulShape): boolean {
  return batch === 1 && m <= MOST_ROWS && a.kStride === 1 &&
    (b.kStride === 1 || b.nStride === 1) && !(weight === "bf16" && k % 2 !== 0);
}

/** How a product is shared among threads. */
interface Plan {
  /** Threads of a column, and columns of a group side by side. */
  readonly lanes: number;
  readonly columns: number;
  /** Such stretches of columns of a group. */
  readonly strips: number;
  /** Rows of a group. */
  readonly rows: number;
  readonly rowBlocks: number;
  readonly columnBlocks: number;
}

/** Words of a column: of a row of stored weights. */
function wordsOf({ k, weight }: MatmulShape): number {
  if (weight === undefined) return k;
  return weight === "bf16" ? k / 2 : k / WEIGHT_BLOCK * blockWords(weight);
}

function planOf(shape: MatmulShape): Plan {
  const { m, n, b } = shape;
  const words = wordsOf(shape);
  // Where columns are neighbours, eight of them fill a sector of memory.
  const most = b.kStride === 1 ? 64 : 32;
  let lanes = 16;
  while (lanes < most && 2 * lanes <= words) lanes *= 2;
  const columns = THREADS / lanes;
  const rowBlocks = Math.ceil(m / ROWS);
  const rows = Math.ceil(m / rowBlocks);
  const whole = Math.ceil(n / columns);
  const fit = Math.max(1, Math.floor(SUMS / rows));
  let strips = 1;
  while (strips < Math.min(4, fit) && whole * rowBlocks >= 2 * strips * GROUPS) strips *= 2;
  return { lanes, columns, strips, rows, rowBlocks, columnBlocks: Math.ceil(whole / strips) };
}

/** The kernel; operands as those of `matmulKernel`. */
export function matvecKernel(shape: MatmulShape, epilogue?: Epilogue): GpuKernel {
  const plan = planOf(shape);
  return {
    key: JSON.stringify(["matvec", shape, epilogueKey(epilogue)]),
    code: () => matvecCode(shape, plan, epilogue),
    groups: plan.rowBlocks * plan.columnBlocks,
    joins: plan.rowBlocks * plan.columnBlocks <= SMALL,
    ...productCost(shape, epilogue),
  };
}

/** What a word of the matrix is: its factors, the scale of all, and where in k they belong. */
interface Word {
  readonly values: readonly Float[];
  readonly scale?: Float;
  readonly at: readonly Index[];
}

/** A column as one thread walks it. */
interface Column {
  /** The first word of the thread. */
  readonly lane: Index;
  /** The column's number among those of a strip. */
  readonly column: Index;
  /**
   * Starts to read the words of a stretch, from the thread's first on and then `lanes` apart. What is
   * returned starts to read word `u` of a strip's column, and what that returns makes numbers of it.
   * Words beyond the last are the last, unless all are inside.
   */
  walk(from: Index, inside: boolean): (strip: number, u: number) => () => Word;
}

/** Columns without blocks: whole rows of the matrix, or neighbours in each of its rows. */
function plainColumn(
  k: GpuBlock,
  shape: MatmulShape,
  place: Place,
  { lanes, columns, strips }: Plan,
  first: (strip: number) => Index,
): Column {
  const { n, b, k: length, weight } = shape;
  const across = b.kStride !== 1;
  const [lane, column] = across
    ? [div(k.thread, i32(columns)), rem(k.thread, i32(columns))]
    : [rem(k.thread, i32(lanes)), div(k.thread, i32(lanes))];
  const own = { lane: k.let(lane), column: k.let(column) };
  const [toColumn, toWord] = weight === undefined ? [b.nStride, b.kStride] : [length / 2, 1];
  const starts = Array.from({ length: strips }, (_, strip) => {
    const wanted = min(add(first(strip), own.column), i32(n - 1));
    return k.let(mul(wanted, i32(toColumn)));
  });
  const last = i32(wordsOf(shape) - 1);
  return {
    ...own,
    walk: (from, inside) => (strip, u) => {
      const wanted = add(from, i32(u * lanes));
      const word = inside ? wanted : k.let(min(wanted, last));
      const at = add(starts[strip], mul(word, i32(toWord)));
      if (weight === undefined) {
        const value = k.read(place as Place<"f32">, at);
        return () => ({ values: [value], at: [word] });
      }
      const pair = k.read(place as Place<"i32">, at);
      const even = mul(word, i32(2));
      return () => ({ values: bf16Pair(pair), at: [even, add(even, i32(1))] });
    },
  };
}

/** Columns in blocks, of which four lie side by side: a thread has one word of each of its blocks. */
function blockedColumn(
  k: GpuBlock,
  matrix: StoredMatrix & { readonly dtype: "q8_0" | "q4_0" },
  place: Place<"i32">,
  { lanes, strips }: Plan,
  first: (strip: number) => Index,
): Column {
  const { dtype, rows, columns } = matrix;
  const size = blockWords(dtype);
  const ofTile = TILE_ROWS * lanes;
  const tile = k.let(div(k.thread, i32(ofTile)));
  const inTile = k.let(rem(k.thread, i32(ofTile)));
  const row = k.let(rem(div(inTile, i32(size)), i32(TILE_ROWS)));
  const inBlock = k.let(rem(k.thread, i32(size)));
  const lane = k.let(add(mul(div(inTile, i32(TILE_ROWS * size)), i32(size)), inBlock));
  const blocks = columns / WEIGHT_BLOCK;
  const last = rows - 1 - (rows - 1) % TILE_ROWS;
  const tiles = Array.from({ length: strips }, (_, strip) => {
    const wanted = k.let(min(add(first(strip), mul(tile, i32(TILE_ROWS))), i32(last)));
    const count = k.let(tileRows(rows, wanted));
    const own = min(row, sub(count, i32(1)));
    return { begin: k.let(add(mul(wanted, i32(blocks)), own)), count };
  });
  const four = [0, 1, 2, 3];
  return {
    lane,
    column: k.let(add(mul(tile, i32(TILE_ROWS)), row)),
    walk: (from, inside) => {
      const firstBlock = k.let(shiftRight(from, i32(Math.log2(size))));
      return (strip, u) => {
        const { begin, count } = tiles[strip];
        const wanted = add(firstBlock, i32(u * lanes / size));
        const block = k.let(inside ? wanted : min(wanted, i32(blocks - 1)));
        const at = k.let(add(begin, mul(block, count)));
        const bits = k.read(place, add(mul(at, i32(size)), inBlock));
        const scale = scaleAt(k, matrix, place, at);
        return () => {
          const start = k.let(add(mul(block, i32(WEIGHT_BLOCK)), mul(inBlock, i32(4))));
          const at = four.map((i) => add(start, i32(i)));
          if (dtype === "q8_0") return { scale, values: signedBytes(k, bits), at };
          const values = [0, 4].flatMap((bit) => four.map((i) => quant4(bits, 8 * i + bit)));
          return { scale, values, at: [...at, ...at.map((x) => add(x, i32(WEIGHT_BLOCK / 2)))] };
        };
      };
    },
  };
}

function matvecCode(shape: MatmulShape, plan: Plan, epilogue?: Epilogue) {
  const { m, n, k: length, weight } = shape;
  const { lanes, columns, strips, rows, rowBlocks } = plan;
  const words = wordsOf(shape);
  const operands = {
    a: "f32" as const,
    b: weight === undefined ? "f32" as const : "i32" as const,
    ...resultOperands(epilogue),
  };
  return gpuKernel("matvec", THREADS, operands, (k, all) => {
    const places: Readonly<Record<string, Place>> = all;
    const firstRow = k.let(mul(rem(k.group, i32(rowBlocks)), i32(rows)));
    const firstColumn = k.let(mul(div(k.group, i32(rowBlocks)), i32(strips * columns)));
    const first = (strip: number) => add(firstColumn, i32(strip * columns));
    const column = weight !== undefined && isBlocked(weight)
      ? blockedColumn(
        k,
        { dtype: weight, rows: n, columns: length },
        places.b as Place<"i32">,
        plan,
        first,
      )
      : plainColumn(k, shape, places.b, plan, first);
    const each = Array.from({ length: strips }, (_, strip) => strip);
    const starts = Array.from({ length: rows }, (_, row) => {
      const wanted = add(firstRow, i32(row));
      const own = m % rows === 0 ? wanted : min(wanted, i32(m - 1));
      return k.let(mul(own, i32(shape.a.mStride)));
    });
    const sums = each.map(() => starts.map(() => k.variable(f32(0))));
    const step = (from: Index, count: number, inside: boolean) => {
      const read = column.walk(from, inside);
      const pending = Array.from({ length: count }, (_, u) => each.map((strip) => read(strip, u)));
      pending.forEach((own, u) => {
        const exists = inside ? undefined : k.let(lessThan(add(from, i32(u * lanes)), i32(words)));
        const parts = own.map((finish) => finish());
        const activations = starts.map((start) =>
          parts[0].at.map((x) => k.read(all.a, add(start, x)))
        );
        parts.forEach(({ values, scale }, strip) => {
          const factors = values.map((value) =>
            k.let(exists === undefined ? value : select(exists, value, f32(0)))
          );
          activations.forEach((own, row) => {
            const sum = sums[strip][row];
            const total = (from: Float) => factors.reduce((s, w, i) => fma(w, own[i], s), from);
            k.set(sum, scale === undefined ? total(sum) : fma(total(f32(0)), scale, sum));
          });
        });
      });
    };
    const most = Math.max(
      1,
      Math.min(IN_FLIGHT / strips, Math.floor(UNROLLED / (strips * rows * length / words))),
    );
    const own = Math.ceil(words / lanes);
    const unrolled = Math.ceil(own / Math.ceil(own / most));
    const whole = words - words % (lanes * unrolled);
    if (whole > 0) {
      k.for(column.lane, whole, lanes * unrolled, (from) => step(from, unrolled, true));
    }
    const left = Math.ceil((words - whole) / lanes);
    if (left > 0) step(k.let(add(column.lane, i32(whole))), left, words % lanes === 0);
    foldColumns(k, plan, sums.flat(), column, (index, ofStrip, value) => {
      const row = k.let(add(firstRow, rem(index, i32(rows))));
      const strip = mul(div(index, i32(rows)), i32(columns));
      const at = k.let(add(add(firstColumn, strip), ofStrip));
      storeElements(k, places, shape, epilogue, [{ batch: i32(0), row, column: at, value }]);
    });
  });
}

/**
 * Adds up what the threads of every column have, each value on its own, and calls `store` in one
 * thread a sum with the value's number, the column's, and the sum.
 */
function foldColumns(
  k: GpuBlock,
  { lanes, columns }: Plan,
  values: readonly Float[],
  { lane, column }: Column,
  store: (value: Index, column: Index, sum: Float) => void,
): void {
  // Each sum is made of parts by threads of their own, of as many terms as there are parts.
  const parts = 2 ** Math.floor(Math.log2(lanes) / 2);
  const terms = lanes / parts;
  const together = Math.min(values.length, terms);
  const scratch = k.shared("f32", together * k.threads);
  const own = k.let(add(mul(column, i32(lanes)), lane));
  const sumOf = (count: number, at: (i: number) => Index) =>
    Array.from({ length: count }, (_, i) => k.read(scratch, at(i))).reduce((a, b) => add(a, b));
  for (let from = 0; from < values.length; from += together) {
    const some = values.slice(from, from + together);
    const sums = some.length * columns;
    if (from > 0) k.barrier();
    some.forEach((value, i) => k.write(scratch, add(own, i32(i * k.threads)), value));
    k.barrier();
    const part = k.variable(f32(0));
    k.if(lessThan(k.thread, i32(sums * parts)), () => {
      const of = mul(div(k.thread, i32(parts)), i32(lanes));
      const begin = k.let(add(of, rem(k.thread, i32(parts))));
      k.set(part, sumOf(terms, (i) => add(begin, i32(i * parts))));
    });
    k.barrier();
    k.write(scratch, k.thread, part);
    k.barrier();
    k.if(lessThan(k.thread, i32(sums)), () => {
      const begin = k.let(mul(k.thread, i32(parts)));
      const sum = k.let(sumOf(parts, (i) => add(begin, i32(i))));
      const value = add(div(k.thread, i32(columns)), i32(from));
      store(k.let(value), k.let(rem(k.thread, i32(columns))), sum);
    });
  }
}
