/**
 * Matrix products: blocks of the result as work items, B packed into panels that stay in the first
 * cache, register tiles over them, and pointwise work on the result before it is stored.
 */

import type { Epilogue } from "../../graph/step.ts";
import { type Block, kernel } from "../language/block.ts";
import { add, div, equal, i32, load, min, mul, offset, rem, sub } from "../language/language.ts";
import type { KernelCode, Lanes } from "../language/syntax.ts";
import { loopLanes } from "../loops/body.ts";
import type { Kernel, MatmulShape } from "../kernel.ts";
import { type Blocking, blockingOf, expandedColumns } from "./shape.ts";
import { type Context, forPanels, forSlices, forTiles, type ResultBlock } from "./block.ts";
import { epilogueKey, productCost, productParameters, storeRow } from "./result.ts";
import { packPanel, packRows, panelColumns, WIDEST_PANEL } from "./packing.ts";
import { accumulate, ROWS, tileOf } from "../products.ts";
import { at, type Index, type Pointer, type V } from "../language/vectors.ts";
import { expandRow, expansionKernel, weightRow } from "../weights/rows.ts";

const bytesOf = (elements: number) => elements * 4;

/**
 * The kernel of a matrix product. Operands: a, b, the epilogue's operands other than the product,
 * and the results (the product itself where there is no epilogue).
 */
export function matmulKernel(shape: MatmulShape, threads: number, epilogue?: Epilogue): Kernel {
  const blocking = blockingOf(shape, threads);
  const { columns, length, lengthBlocks, packsA } = blocking;
  const sums = lengthBlocks > 1 ? blocking.rows * columns : 0;
  return {
    key: JSON.stringify([
      "matmul",
      shape,
      blocking,
      epilogueKey(epilogue),
    ]),
    code: (most) => matmulCode(shape, blocking, matmulLanes(most, shape, epilogue), epilogue),
    items: shape.batch * blocking.columnBlocks * blocking.rowBlocks,
    grain: blocking.grain,
    scratchBytes: Math.max(
      bytesOf(
        columns * length + sums + (packsA ? blocking.rows * length : 0) +
          (shape.weight === undefined ? 0 : WIDEST_PANEL * length),
      ),
      shape.weight === undefined ? 0 : bytesOf(expandedColumns(shape, threads) * shape.k),
    ),
    ...productCost(shape, epilogue),
    matmul: epilogue === undefined ? shape : undefined,
    expansion: shape.weight === undefined
      ? undefined
      : expansionKernel({ dtype: shape.weight, rows: shape.n, columns: shape.k }),
  };
}

/** The most lanes up to some that the columns of a product, and its epilogue, have use for. */
function matmulLanes(most: Lanes, { n }: MatmulShape, epilogue?: Epilogue): Lanes {
  const fits = epilogue === undefined ? most : loopLanes(most, epilogue.loop);
  return ([16, 8] as const).find((lanes) => lanes <= fits && lanes < n) ?? 4;
}

function matmulCode(
  shape: MatmulShape,
  blocking: Blocking,
  lanes: Lanes,
  epilogue?: Epilogue,
): KernelCode {
  const parameters = productParameters(epilogue);
  return kernel("matmul", parameters, (k, all) => {
    const args = all as unknown as Record<string, Pointer>;
    const { rowBlocks, columnBlocks, columns, length, lengthBlocks } = blocking;
    const packedB = args.scratch;
    const sums = k.let(offset(packedB, bytesOf(columns * length)));
    const sumBytes = lengthBlocks > 1 ? bytesOf(blocking.rows * columns) : 0;
    const packedA = k.let(offset(sums, sumBytes));
    const aBytes = blocking.packsA ? bytesOf(blocking.rows * length) : 0;
    const expanded = k.let(offset(packedA, aBytes));
    const context = { k, shape, blocking, epilogue, args, packedA, packedB, sums, expanded };
    const packedBlock = k.variable("i32");
    k.set(packedBlock, i32(-1));
    k.for(all.begin, all.end, 1, (item) => {
      const columnBlock = k.let(div(item, i32(rowBlocks)));
      const firstRow = k.let(mul(rem(item, i32(rowBlocks)), i32(blocking.rows)));
      const batch = k.let(div(columnBlock, i32(columnBlocks)));
      const firstColumn = k.let(mul(rem(columnBlock, i32(columnBlocks)), i32(columns)));
      const a = k.let(offset(args.a, mul(batch, i32(bytesOf(shape.a.batchStride)))));
      const b = k.let(offset(args.b, mul(batch, i32(bytesOf(shape.b.batchStride)))));
      const block = { a, b, batch, firstRow, firstColumn };
      if (lengthBlocks === 1) {
        // Neighbouring items share their columns, which are packed once.
        k.if(equal(equal(packedBlock, columnBlock), i32(0)), () => {
          k.set(packedBlock, columnBlock);
          packColumns(context, block, i32(0), i32(shape.k));
        });
        multiply(context, block, i32(0), shape.k);
      } else {
        k.for(0, shape.k, length, (from) => {
          const count = k.let(min(i32(length), sub(i32(shape.k), from)));
          packColumns(context, block, from, count);
          multiply(context, block, from, count);
        });
      }
    });
  }, lanes);
}

function packColumns(context: Context, block: ResultBlock, from: Index, count: Index): void {
  const { k, shape: { b, weight } } = context;
  if (weight !== undefined || b.kStride === 1) packPart(context, block, from, i32(0), count);
  else {
    forSlices(k, count, (step, places) => packPart(context, block, from, step, places));
  }
}

/** Packs so many places of a stretch of k, which begins at `from`, from the step on. */
function packPart(
  context: Context,
  block: ResultBlock,
  stretch: Index,
  step: Index,
  count: Index,
): void {
  const { k, shape, blocking, packedB, expanded } = context;
  const { b: { kStride, nStride }, weight } = shape;
  const from = add(stretch, step);
  forPanels(context, block, (column, columns) => {
    if (weight !== undefined) {
      const matrix = { dtype: weight, rows: shape.n, columns: shape.k };
      for (let c = 0; c < columns; c++) {
        const to = offset(expanded, bytesOf(c * blocking.length));
        expandRow(k, weight, weightRow(matrix, block.b, column, c, columns), from, count, to);
      }
    }
    const source = offset(
      block.b,
      add(mul(column, i32(bytesOf(nStride))), mul(from, i32(bytesOf(kStride)))),
    );
    const target = offset(
      packedB,
      add(
        mul(sub(column, block.firstColumn), i32(bytesOf(blocking.length))),
        mul(step, i32(bytesOf(panelColumns(k)))),
      ),
    );
    if (weight === undefined) {
      packPanel(k, k.let(target), k.let(source), { kStride, nStride }, columns, count);
    } else {
      const strides = { kStride: 1, nStride: blocking.length };
      packPanel(k, k.let(target), expanded, strides, columns, count);
    }
  });
}

/** All tiles of a block over one stretch of k. */
function multiply(
  context: Context,
  block: ResultBlock,
  from: Index,
  count: Index | number,
): void {
  const { k, shape: { a }, blocking, packedA, packedB, sums } = context;
  const length = typeof count === "number" ? i32(count) : count;
  const tileBytes = bytesOf(blocking.length * ROWS);
  const packedRows = (row: Index) =>
    k.let(
      offset(packedA, mul(div(sub(row, block.firstRow), i32(ROWS)), i32(tileBytes))),
    );
  const rowOf = (row: Index) =>
    k.let(
      offset(
        block.a,
        add(mul(row, i32(bytesOf(a.mStride))), mul(from, i32(bytesOf(a.kStride)))),
      ),
    );
  if (blocking.packsA) {
    forSlices(k, length, (step, places) =>
      forTiles(context, block, (row, rows) => {
        const to = k.let(at(packedRows(row), step, bytesOf(ROWS)));
        packRows(k, to, k.let(at(rowOf(row), step, bytesOf(a.kStride))), a, rows, places);
      }));
  }
  forPanels(context, block, (column, columns) => {
    const panel = k.let(
      offset(packedB, mul(sub(column, block.firstColumn), i32(bytesOf(blocking.length)))),
    );
    forTiles(context, block, (row, rows) => {
      const vectors = Math.ceil(columns / k.lanes);
      const tile = tileOf(k, rows, vectors);
      accumulate(k, tile, {
        a: blocking.packsA ? packedRows(row) : rowOf(row),
        aRow: blocking.packsA ? 4 : bytesOf(a.mStride),
        aStep: blocking.packsA ? ROWS * 4 : 4,
        b: panel,
        bStep: panelColumns(k) * 4,
        count,
      });
      const store = (joins?: Pointer) =>
        tile.forEach((sums, r) =>
          storeRow(
            k,
            context,
            { batch: block.batch, row: plusIndex(row, r), column, columns },
            (j) =>
              joins === undefined ? sums[j] : joined(k, sums[j], joins, blocking.columns, r, j),
          )
        );
      if (blocking.lengthBlocks === 1) return store();
      const to = sumsAt(context, block, row, column, sums);
      const last = blocking.length * (blocking.lengthBlocks - 1);
      k.if(
        equal(from, i32(last)),
        () => store(to),
        () =>
          k.if(
            equal(from, i32(0)),
            () => storeSums(k, tile, to, blocking.columns, false),
            () => storeSums(k, tile, to, blocking.columns, true),
          ),
      );
    });
  });
}

const plusIndex = (index: Index, by: number): Index => add(index, i32(by));

function sumsAt(
  { k, blocking }: Context,
  block: ResultBlock,
  row: Index,
  column: Index,
  sums: Pointer,
): Pointer {
  const rowBytes = i32(bytesOf(blocking.columns));
  return k.let(
    offset(
      sums,
      add(mul(sub(row, block.firstRow), rowBytes), mul(sub(column, block.firstColumn), i32(4))),
    ),
  );
}

const sumAt = (k: Block, columns: number, r: number, j: number) =>
  bytesOf(r * columns) + j * k.vectorBytes;

/** A sum of a tile, and what it was up to this stretch. */
const joined = (k: Block, sum: V, to: Pointer, columns: number, r: number, j: number): V =>
  add(load(k.vector, to, sumAt(k, columns, r, j)), sum);

function storeSums(
  k: Block,
  tile: readonly (readonly V[])[],
  to: Pointer,
  columns: number,
  joins: boolean,
): void {
  tile.forEach((row, r) =>
    row.forEach((sum, j) => {
      k.store(joins ? joined(k, sum, to, columns, r, j) : sum, to, sumAt(k, columns, r, j));
    })
  );
}
