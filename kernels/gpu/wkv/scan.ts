/**
 * States of a recurrence, or their gradients, from chunk to chunk (chunks.ts): the only part that
 * goes one chunk after another. A group has eight rows of a head's state, which do not depend on the
 * others; they stay in registers and, for the products along rows, in shared memory.
 */

import { WKV_CHUNK } from "../../../graph/build.ts";
import {
  add,
  div,
  fma,
  i32,
  lessThan,
  max,
  min,
  mul,
  rem,
  select,
  sub,
} from "../../language/language.ts";
import { type GpuBlock, gpuKernel, type OperandTypes } from "../block.ts";
import { headRows, type HeadStrides } from "../heads.ts";
import type { GpuKernel } from "../kernel.ts";
import { f32, type Float, type Index, type Place } from "../language.ts";
import { chunksOf, groupHead, ownRows } from "./recurrence.ts";
import {
  allChunks,
  chunkToken,
  count,
  type GpuChunkedShape,
  ifInside,
  inside,
  type Places,
  position,
  putToken,
  removes,
  sumOfProducts,
  vectorsOf,
} from "./chunks.ts";

/** Rows of a group. */
const ROWS = 8;
/** Threads of a slice of the columns. */
const SLICE_THREADS = 128;
/** Threads side by side, which have columns side by side, and rows of such threads. */
const [SIDE, THREAD_ROWS] = [32, 2];
/** Columns from which on there are two slices: a thread keeps so many numbers in registers. */
const SLICE_COLUMNS = 64;

/** A pass over the chunks. */
export type WkvPass =
  /** From the first; the states before every chunk are written if they are kept. */
  | { readonly kind: "forward"; readonly keepStates: boolean }
  /** From the last, with the layout of dy; the dS after every chunk are written. */
  | { readonly kind: "gradient"; readonly dy: HeadStrides };

/** How a state's elements lie: RWKV-6 has keys before values. */
export const valuesFirst = removes;

/**
 * The kernel. Operands of the forward pass: turned, rows, decays and local of wkvTokens, v, state → y,
 * last state and, where they are kept, states before every chunk. Of the gradient: turned, rows,
 * decays, dy, last dS → dS·b̄ and dS·k̄ by chunks [vectors, values], dS after every chunk [value, key],
 * and dS of the first state.
 */
export function wkvScan(shape: GpuChunkedShape, pass: WkvPass): GpuKernel {
  const { batch, heads, width } = shape;
  const chunks = allChunks(shape);
  const vectors = vectorsOf(shape);
  const kept = pass.kind === "gradient" || pass.keepStates ? chunks : 0;
  return {
    key: `wkv_scan ${JSON.stringify([shape, pass])}`,
    code: () => code(shape, pass),
    groups: batch * heads * Math.ceil(width / ROWS),
    flops: chunks * width * width * (4 * vectors + 1),
    bytes: 4 * width *
      (chunks * (4 * vectors + 1) + (kept + 2 * batch * heads) * width),
  };
}

/** The rows of a state that a group has, in shared memory, and how they lie in operands. */
interface Rows {
  readonly shared: Place<"f32">;
  /** The place of an element in it. */
  at(row: Index, column: Index): Index;
  /** Copies it from or to an operand, from an element on. */
  load(from: Place<"f32">, first: Index): void;
  store(to: Place<"f32">, first: Index, byValues: boolean): void;
}

function sharedRows(
  k: GpuBlock,
  shape: GpuChunkedShape,
  firstRow: Index,
  columns: number,
): Rows {
  const { width } = shape;
  const pitch = columns + 4;
  const shared = k.shared("f32", ROWS * pitch);
  const at = (row: Index, column: Index) => position([row, pitch], [column, 1]);
  const each = (
    byValues: boolean,
    visit: (row: Index, column: Index, outside: (row: Index, column: Index) => Index) => void,
  ) => {
    for (let first = 0; first < ROWS * columns; first += k.threads) {
      const element = k.let(add(k.thread, i32(first)));
      const [row, column] = byValues
        ? [div(element, i32(columns)), rem(element, i32(columns))]
        : [rem(element, i32(ROWS)), div(element, i32(ROWS))];
      visit(k.let(row), k.let(column), (row, column) => {
        const value = k.let(add(firstRow, row));
        return byValues
          ? position([value, width], [column, 1])
          : position([column, width], [value, 1]);
      });
    }
  };
  return {
    shared,
    at,
    load: (from, first) =>
      each(valuesFirst(shape), (row, column, outside) => {
        const [r, c] = [
          inside(k, k.let(add(firstRow, row)), width, ROWS),
          inside(k, column, width, columns),
        ];
        const element = outside(k.let(sub(r, firstRow)), c);
        k.write(shared, at(row, column), k.read(from, add(first, element)));
      }),
    store: (to, first, byValues) =>
      each(byValues, (row, column, outside) => {
        const value = k.read(shared, at(row, column));
        ifInside(k, k.let(add(firstRow, row)), width, ROWS, () =>
          ifInside(k, column, width, columns, () => {
            k.write(to, add(first, outside(row, column)), value);
          }));
      }),
  };
}

function code(shape: GpuChunkedShape, pass: WkvPass) {
  const { time, heads, width } = shape;
  const forward = pass.kind === "forward";
  const keeps = !forward || pass.keepStates;
  const chunks = chunksOf(time);
  const vectors = vectorsOf(shape);
  const slices = width > SLICE_COLUMNS ? 2 : 1;
  const span = Math.ceil(width / slices);
  const columnsEach = Math.ceil(width / (SIDE * slices));
  const columns = columnsEach * SIDE * slices;
  const dotRows = ROWS * vectors / SLICE_THREADS;
  const operands: OperandTypes = {
    ...{ turned: "f32", rows: "f32", decays: "f32", ...(forward ? { local: "f32" } : {}) },
    ...{ given: "f32", state: "f32", result: "+f32" },
    ...(forward
      ? { last: "+f32", ...(keeps ? { kept: "+f32" } : {}) }
      : { kept: "+f32", last: "+f32" }),
  };
  const name = `wkv_scan_${pass.kind}`;
  return gpuKernel(name, SLICE_THREADS * slices, operands, (k, all) => {
    const places = all as Places;
    const parts = Math.ceil(width / ROWS);
    const headIndex = k.let(div(k.group, i32(parts)));
    const head = groupHead(k, { heads, width }, headIndex);
    const firstRow = k.let(mul(rem(k.group, i32(parts)), i32(ROWS)));
    const thread = k.let(rem(k.thread, i32(SLICE_THREADS)));
    const slice = k.let(div(k.thread, i32(SLICE_THREADS)));
    const valueOf = (row: Index) => inside(k, k.let(add(firstRow, row)), width, ROWS);

    // A thread's part of the products along rows: one vector, some of the columns, one or two rows.
    const vector = k.let(rem(thread, i32(vectors)));
    const firstDot = k.let(mul(div(thread, i32(vectors)), i32(dotRows)));
    const dotColumn = (i: number) => k.let(add(mul(slice, i32(span)), i32(i)));
    // And of the state.
    const side = k.let(rem(thread, i32(SIDE)));
    const ownRow = k.let(mul(div(thread, i32(SIDE)), i32(THREAD_ROWS)));
    const ownColumns = count(columnsEach).map((i) =>
      k.let(add(side, mul(add(slice, i32(i * slices)), i32(SIDE))))
    );

    const state = sharedRows(k, shape, firstRow, columns);
    const sums = k.shared("f32", slices * ROWS * vectors);
    const given = k.shared("f32", ROWS * WKV_CHUNK);
    const sumAt = (slice: Index, row: Index, vector: Index) =>
      position([slice, ROWS * vectors], [row, vectors], [vector, 1]);

    state.load(places.state, head.state);
    k.barrier();
    const own = count(THREAD_ROWS).map((r) =>
      ownColumns.map((column) =>
        k.variable(k.read(state.shared, state.at(k.let(add(ownRow, i32(r))), column)))
      )
    );
    const chunkAt = (step: Index) => {
      const chunk = forward ? step : sub(i32(chunks - 1), step);
      return k.let(add(mul(headIndex, i32(chunks)), chunk));
    };
    const readVector = (index: Index, i: number): Float => {
      const column = dotColumn(i);
      const last = span * slices > width && i === span - 1;
      const known = last ? k.let(min(column, i32(width - 1))) : column;
      const at = position([index, width * vectors], [known, vectors], [vector, 1]);
      const value = k.read(places.turned, at);
      return last ? k.let(select(lessThan(column, i32(width)), value, f32(0))) : value;
    };
    const y = ownRows(k, places.result, { ...shape, inputs: {} }, head);
    const layout = forward ? shape.inputs.v : pass.dy;
    const givenRows = headRows(k, places.given, layout, head.b, head.h);
    const firstIndex = chunkAt(i32(0));
    const factors = count(span).map((i) => k.variable(readVector(firstIndex, i)));

    k.for(0, chunks, 1, (step) => {
      const index = chunkAt(step);
      const chunk = k.let(sub(index, mul(headIndex, i32(chunks))));
      const first = k.let(mul(chunk, i32(WKV_CHUNK)));
      if (keeps) {
        const at = k.let(mul(index, i32(width * width)));
        state.store(places.kept, at, !forward || valuesFirst(shape));
      }
      // Read here, needed later: what is far away takes long.
      const known = ownColumns.map((column) => inside(k, column, width, SIDE * slices));
      const decays = known.map((column) =>
        k.read(places.decays, position([index, width], [column, 1]))
      );
      const rows = count(vectors).map((vector) =>
        known.map((column) =>
          k.read(
            places.rows,
            add(position([index, width * vectors], [column, 1]), i32(vector * width)),
          )
        )
      );
      const [token, givenRow] = [
        k.let(rem(div(thread, i32(ROWS)), i32(WKV_CHUNK))),
        k.let(rem(thread, i32(ROWS))),
      ];
      const givenValue = chunkToken(k, shape, givenRows, first)(token, valueOf(givenRow));
      const dotRow = count(dotRows).map((r) => k.let(add(firstDot, i32(r))));
      const locals = dotRow.map((row) => {
        if (!forward) return f32(0);
        const at = position([index, width * vectors], [valueOf(row), vectors], [vector, 1]);
        return k.read(places.local, at);
      });

      const dots = dotRow.map((row, r) => {
        const begin = k.let(add(mul(slice, i32(span)), state.at(row, i32(0))));
        const pairs = factors.map((factor, i) =>
          [factor, k.read(state.shared, add(begin, i32(i)))] as const
        );
        const sum = sumOfProducts(k, pairs);
        if (!forward) return { row, sum };
        const once = slices === 1 ? locals[r] : select(lessThan(slice, i32(1)), locals[r], f32(0));
        return { row, sum: k.let(add(sum, once)) };
      });
      k.if(lessThan(k.thread, i32(SLICE_THREADS)), () => {
        k.write(given, position([givenRow, WKV_CHUNK], [token, 1]), givenValue);
      });
      dots.forEach(({ row, sum }) => k.write(sums, sumAt(slice, row, vector), sum));
      k.barrier();

      const next = chunkAt(k.let(min(add(step, i32(1)), i32(chunks - 1))));
      factors.forEach((factor, i) => k.set(factor, readVector(next, i)));
      const whole = (row: Index, vector: Index) =>
        count(slices)
          .map((slice) => k.read(sums, sumAt(i32(slice), row, vector)))
          .reduce((a, b) => k.let(add(a, b)));
      k.if(lessThan(k.thread, i32(SLICE_THREADS)), () => {
        dots.forEach(({ row, sum }) => {
          const result = slices === 1 ? sum : whole(row, vector);
          const value = k.let(add(firstRow, row));
          ifInside(k, value, width, ROWS, () => {
            if (!forward) {
              const at = position([index, width * vectors], [vector, width], [value, 1]);
              return k.write(places.result, at, result);
            }
            const token = k.let(max(sub(vector, i32(vectors - WKV_CHUNK)), i32(0)));
            k.if(lessThan(i32(vectors - WKV_CHUNK - 1), vector), () => {
              putToken(k, shape, y, first)(token, value, result);
            });
          });
        });
      });

      own.forEach((row, r) => {
        const at = k.let(add(ownRow, i32(r)));
        const removed = removes(shape)
          ? count(WKV_CHUNK).map((token) => whole(at, i32(token)))
          : [];
        const values = count(WKV_CHUNK).map((token) =>
          k.read(given, add(mul(at, i32(WKV_CHUNK)), i32(token)))
        );
        const factors = [...removed, ...values];
        row.forEach((element, c) => {
          k.set(element, mul(element, decays[c]));
          factors.forEach((factor, i) => k.set(element, fma(factor, rows[i][c], element)));
          k.write(state.shared, state.at(at, ownColumns[c]), element);
        });
      });
      k.barrier();
    });
    state.store(places.last, head.state, valuesFirst(shape));
  });
}
