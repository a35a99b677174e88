/**
 * GPU kernels of products of few rows with a matrix, as decoding makes them: memory is read once, as
 * it lies, by threads side by side. Those of a column share its length; their sums are folded in one
 * order.
 */

import type { Epilogue } from "../../../graph/step.ts";
import { isBlocked, WEIGHT_BLOCK } from "../../../graph/tensor.ts";
import type { MatmulShape } from "../../kernel.ts";
import { add, div, fma, i32, lessThan, min, mul, rem, select } from "../../language/language.ts";
import { epilogueKey, productCost } from "../../matmul/result.ts";
import { gpuKernel } from "../block.ts";
import type { GpuKernel } from "../kernel.ts";
import { f32, type Float, type Index, type Place } from "../language.ts";
import { resultOperands, storeElements } from "../matmul/matmul.ts";
import { blockedColumn, type ColumnPlan, type Piece, plainColumn, wordReader } from "./columns.ts";
import { foldColumns } from "./fold.ts";
import { blockWords } from "../weights.ts";

/** Threads of a group. */
const THREADS = 256;
/** Rows of a product at most: with more, tiles that lie in shared memory read less. */
const MOST_ROWS = 64;
/** Rows that a thread has sums of, and those beside 16 bytes of weights at a time. */
const ROWS = 8;
const WIDE_ROWS = 4;
/** Sums of a thread at most. */
const SUMS = 32;
/** Words that a thread reads before it needs the first, at most: one by one, or four at once. */
const IN_FLIGHT = 12;
const IN_FLIGHT_WIDE = 32;
/** Runs of a piece that are multiplied at a time. */
const RUNS = 2;
/** Products of a thread that are written out one after another: more take drivers long to compile. */
const UNROLLED = 256;
/** Groups that make all of a large GPU busy: with a word at a time, and with four. */
const GROUPS = 1024;
const GROUPS_WIDE = 256;
/** Threads that wait in vain, of those of a column, at most. */
const MOST_WASTE = 0.2;
/** Groups of a product beyond which it is no small one. */
const SMALL = 2048;

/** Whether a product is better done by reading the matrix as it lies. */
export function isMatvec({ batch, m, k, a, b, weight }: MatmulShape): boolean {
  return batch === 1 && m <= MOST_ROWS && a.kStride === 1 &&
    (b.kStride === 1 || b.nStride === 1) && !(weight === "bf16" && k % 2 !== 0);
}

/** How a product is shared among threads. */
interface Plan extends ColumnPlan {
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

/** A product with weights in blocks, which are multiples of 16 bytes. */
type BlockedShape = MatmulShape & { readonly weight: "q8_0" | "q4_0" };

const isOfBlocks = (shape: MatmulShape): shape is BlockedShape =>
  shape.weight !== undefined && isBlocked(shape.weight);

/** Whether numbers of the rows lie in fours beside the blocks. */
const rowsInFours = ({ a, m }: BlockedShape) => m === 1 || a.mStride % 4 === 0;

/** Registers that sums of so many rows take: numbers of blocks are summed by power first. */
const registersOf = (shape: MatmulShape, rows: number) =>
  isOfBlocks(shape) && rows > WIDE_ROWS ? 2 * rows : rows;

function planOf(shape: MatmulShape): Plan {
  const { m, n, k } = shape;
  const words = wordsOf(shape);
  const rowBlocks = Math.ceil(m / ROWS);
  const rows = Math.ceil(m / rowBlocks);
  const fit = Math.floor(SUMS / registersOf(shape, rows));
  // Blocks of large matrices are read 16 bytes at a time; smaller ones have more work for threads, and
  // more rows take more registers than there are.
  const isWide = isOfBlocks(shape) && rowsInFours(shape) && rows <= WIDE_ROWS &&
    n * words / 4 >= GROUPS * THREADS;
  if (isWide) {
    const lanes = wideLanes(words / 4);
    const unrolled = Math.floor(UNROLLED / (rows * 4 * k / words));
    const strips = { least: GROUPS_WIDE, most: Math.min(fit, unrolled) };
    return { words: 4, rows, rowBlocks, ...columnsOf(n, lanes, rowBlocks, strips) };
  }
  // Where columns are neighbours, eight of them fill a sector of memory.
  const most = shape.b.kStride === 1 ? 64 : 32;
  let lanes = 16;
  while (lanes < most && 2 * lanes <= words) lanes *= 2;
  const strips = { least: GROUPS, most: fit };
  return { words: 1, rows, rowBlocks, ...columnsOf(n, lanes, rowBlocks, strips) };
}

/** Threads that share so many pieces of a column: few of them without any in the last round. */
function wideLanes(pieces: number): number {
  const waste = (lanes: number) => Math.ceil(pieces / lanes) * lanes / pieces - 1;
  const all = [64, 32, 16, 8, 4];
  return all.find((lanes) => waste(lanes) <= MOST_WASTE) ?? all[all.length - 1];
}

/** How so many columns are shared among groups: several strips a thread, where that leaves enough. */
function columnsOf(
  n: number,
  lanes: number,
  rowBlocks: number,
  { least, most }: { readonly least: number; readonly most: number },
) {
  const columns = THREADS / lanes;
  const whole = Math.ceil(n / columns);
  let strips = 1;
  while (strips < Math.min(4, most) && whole * rowBlocks >= 2 * strips * least) strips *= 2;
  return { lanes, columns, strips, columnBlocks: Math.ceil(whole / strips) };
}

/** The kernel; operands as those of `matmulKernel`. */
export function matvecKernel(shape: MatmulShape, epilogue?: Epilogue): GpuKernel {
  const plan = planOf(shape);
  const kernelOf = (aligned: boolean): GpuKernel => ({
    key: JSON.stringify(["matvec", aligned, shape, epilogueKey(epilogue)]),
    code: () => matvecCode(shape, plan, aligned, epilogue),
    groups: plan.rowBlocks * plan.columnBlocks,
    joins: plan.rowBlocks * plan.columnBlocks <= SMALL,
    ...productCost(shape, epilogue),
  });
  // Beside a word of a block, a row is read by four; the matrix is where pieces are of four words.
  if (!isOfBlocks(shape) || !rowsInFours(shape)) return kernelOf(false);
  const operands = plan.words === 4 ? [0, 1] : [0];
  return { ...kernelOf(true), aligned: { operands, otherwise: kernelOf(false) } };
}

/** Sums of products of numbers times 2 to a power, by power. */
type Total = Map<number, Float>;

function addTo(total: Total, power: number, a: Float, b: Float): void {
  const known = total.get(power);
  total.set(power, known === undefined ? mul(a, b) : fma(a, b, known));
}

/** All of a total, without the powers. */
function wholeOf(total: Total): Float {
  const [[, exact], ...scaled] = [...total].sort(([a], [b]) => a - b);
  return scaled.reduce((sum, [power, value]) => fma(value, f32(2 ** -power), sum), exact);
}

function matvecCode(shape: MatmulShape, plan: Plan, aligned: boolean, epilogue?: Epilogue) {
  const { m, n, k: length, weight } = shape;
  const { words, lanes, columns, strips, rows, rowBlocks } = plan;
  const pieces = wordsOf(shape) / words;
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
    const read = wordReader(k, aligned);
    const matrix = { rows: n, columns: length };
    const column = isOfBlocks(shape)
      ? blockedColumn(
        k,
        { dtype: shape.weight, ...matrix },
        places.b as Place<"i32">,
        read,
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
      const start = column.walk(from, inside);
      const pending = Array.from({ length: count }, (_, u) => each.map((strip) => start(strip, u)));
      pending.forEach((own, u) => {
        const exists = inside ? undefined : k.let(lessThan(add(from, i32(u * lanes)), i32(pieces)));
        addPieces(own.map((finish) => finish()), exists);
      });
    };
    /** Adds the products of the rows with a piece of each strip, some runs at a time. */
    const addPieces = (parts: readonly Piece[], exists: Index | undefined) => {
      const begins = starts.map((start) => k.let(add(start, parts[0].first)));
      const masked = (value: Float) => exists === undefined ? value : select(exists, value, f32(0));
      // What is summed of every strip and row before the scale is known to all, by power.
      const totals = each.map(() => starts.map((): Total => new Map()));
      const { length: count } = parts[0].runs;
      for (let from = 0; from < count; from += RUNS) {
        const some = parts.map(({ runs }) => runs.slice(from, from + RUNS).map((run) => run()));
        const numbers = begins.map((begin) =>
          some[0].map(({ offset, factors }) => read(all.a, add(begin, i32(offset)), factors.length))
        );
        some.forEach((runs, strip) => {
          const { scale } = parts[strip];
          const factors = runs.map(({ factors }) =>
            factors.map(({ value, power }) => ({
              value: k.let(scale === undefined ? masked(value) : value),
              power,
            }))
          );
          const own = scale && k.let(masked(scale));
          numbers.forEach((ofRow, row) => {
            const sum = sums[strip][row];
            const total = totals[strip][row];
            if (own === undefined && from === 0) total.set(0, sum);
            factors.forEach((run, r) =>
              run.forEach(({ value, power }, i) => addTo(total, power, value, ofRow[r][i]))
            );
            if (from + RUNS < count) total.forEach((value, at) => total.set(at, k.let(value)));
            else k.set(sum, own === undefined ? wholeOf(total) : fma(wholeOf(total), own, sum));
          });
        });
      }
    };
    const perPiece = length / pieces;
    const most = Math.max(
      1,
      Math.min(
        Math.floor((words === 1 ? IN_FLIGHT : IN_FLIGHT_WIDE / words) / strips),
        Math.floor(UNROLLED / (strips * registersOf(shape, rows) * perPiece)),
      ),
    );
    const own = Math.ceil(pieces / lanes);
    const unrolled = Math.ceil(own / Math.ceil(own / most));
    const whole = pieces - pieces % (lanes * unrolled);
    if (whole > 0) {
      k.for(column.lane, whole, lanes * unrolled, (from) => step(from, unrolled, true));
    }
    const left = Math.ceil((pieces - whole) / lanes);
    if (left > 0) step(k.let(add(column.lane, i32(whole))), left, pieces % lanes === 0);
    foldColumns(k, plan, sums.flat(), column, (index, ofStrip, value) => {
      const row = k.let(add(firstRow, rem(index, i32(rows))));
      const strip = mul(div(index, i32(rows)), i32(columns));
      const at = k.let(add(add(firstColumn, strip), ofStrip));
      storeElements(k, places, shape, epilogue, [{ batch: i32(0), row, column: at, value }]);
    });
  });
}
