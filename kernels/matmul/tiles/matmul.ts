/**
 * Matrix products by tiles of bf16, on processors with AMX. Of the nine products of the three parts of
 * an f32 (packing.ts) with those of another, six are added; the others are less than 2^−24 of the
 * whole. Tiles add up in f32, so that the result is as good as that of sums in f32. Stored weights
 * have one part, and so three products: with bf16 the sums have the bits of those with the same
 * weights in f32, with q8_0 and q4_0 the scales of blocks are applied to sums of 32 products.
 *
 * Infinities become NaN, and what is below 2^−110 loses bits: bf16 has no smaller parts.
 */

import type { Epilogue } from "../../../graph/step.ts";
import { loopLanes } from "../../loops/body.ts";
import type { Kernel, MatmulShape } from "../../kernel.ts";
import { type Block, kernel } from "../../language/block.ts";
import {
  add,
  div,
  i32,
  joinQuads,
  load,
  min,
  mul,
  offset,
  rem,
  sub,
} from "../../language/language.ts";
import type { KernelCode, Lanes } from "../../language/syntax.ts";
import { epilogueKey, productCost, productParameters, storeRow } from "../result.ts";
import {
  type Context,
  forPanels,
  multiply,
  type ResultBlock,
  scratchOf,
  type Stretch,
  sumsOf,
} from "./block.ts";
import { PANEL, tileProductOf } from "./layout.ts";
import { type TileBlocking, tileBlockingOf } from "./shape.ts";
import type { Sums } from "./products.ts";
import { at, F32, type Pointer, transpose } from "../../language/vectors.ts";

/** Lanes of a row of a tile of sums. */
const LANES: Lanes = 16;

/** The kernel; operands as those of `matmulKernel`. Its vectors always have 16 lanes. */
export function tileMatmulKernel(
  shape: MatmulShape,
  threads: number,
  epilogue?: Epilogue,
): Kernel {
  const blocking = tileBlockingOf(shape, threads);
  return {
    key: JSON.stringify(["tiles", shape, blocking, epilogueKey(epilogue)]),
    code: () => tileMatmulCode(shape, blocking, epilogue),
    items: shape.batch * blocking.columnBlocks * blocking.rowBlocks,
    scratchBytes: scratchOf(tileProductOf(shape), blocking).bytes,
    ...productCost(shape, epilogue),
  };
}

function tileMatmulCode(
  shape: MatmulShape,
  blocking: TileBlocking,
  epilogue?: Epilogue,
): KernelCode {
  return kernel("tile matmul", productParameters(epilogue), (k, all) => {
    const args = all as unknown as Record<string, Pointer>;
    const { rows, rowBlocks, columns, columnBlocks, length, lengthBlocks } = blocking;
    const product = tileProductOf(shape);
    const scratch = scratchOf(product, blocking);
    const context = { k, shape, product, blocking, epilogue, args, scratch, base: args.scratch };
    k.for(all.begin, all.end, 1, (item) => {
      const columnBlock = k.let(div(item, i32(rowBlocks)));
      const batch = k.let(div(columnBlock, i32(columnBlocks)));
      const a = k.let(at(args.a, batch, shape.a.batchStride * F32));
      // Stored weights are one matrix.
      const b = shape.weight ? args.b : k.let(at(args.b, batch, shape.b.batchStride * F32));
      const block = {
        ...product.turned ? { left: b, right: a } : { left: a, right: b },
        batch,
        firstRow: k.let(mul(rem(item, i32(rowBlocks)), i32(rows))),
        firstColumn: k.let(mul(rem(columnBlock, i32(columnBlocks)), i32(columns))),
      };
      const end = (rows: Stretch, columns: Stretch) => finish(context, block, rows, columns);
      if (lengthBlocks === 1) {
        return multiply(context, block, { from: i32(0), count: i32(shape.k) }, end);
      }
      k.for(0, shape.k, length, (from) => {
        const count = k.let(min(i32(length), sub(i32(shape.k), from)));
        multiply(context, block, { from, count }, () => {});
      });
      forPanels(k, block.firstRow, rows, product.m, (rows) => {
        forPanels(k, block.firstColumn, columns, product.n, (columns) => end(rows, columns));
      });
    });
  }, LANES);
}

/** Takes the sums of two panels through the epilogue into the results. */
function finish(context: Context, block: ResultBlock, rows: Stretch, columns: Stretch): void {
  const { k: widest, product: { turned }, epilogue } = context;
  const k = epilogue === undefined ? widest : widest.withLanes(loopLanes(LANES, epilogue.loop));
  const sums = sumsOf(context, block, rows, columns);
  const square = {
    ...sums,
    at: offset(context.base, context.scratch.square),
    rowBytes: PANEL * F32,
  };
  if (turned) transposeSums(widest, sums, rows.count, columns.count, square);
  const [first, second, result] = turned ? [columns, rows, square] : [rows, columns, sums];
  k.for(0, first.count, 1, (row) => {
    const from = k.let(at(result.at, row, result.rowBytes));
    const part = {
      batch: block.batch,
      row: k.let(add(first.first, row)),
      column: second.first,
      columns: second.count,
    };
    storeRow(k, context, part, (vector) => load(k.vector, from, vector * k.vectorBytes));
  });
}

/** Writes the transposed sums of two panels, four columns at a time. */
function transposeSums(k: Block, sums: Sums, rows: number, columns: number, to: Sums): void {
  const four = [0, 1, 2, 3] as const;
  k.for(0, Math.ceil(columns / 4), 1, (columnsOf) => {
    const from = k.let(at(sums.at, columnsOf, 4 * F32));
    const target = k.let(at(to.at, columnsOf, 4 * to.rowBytes));
    for (let tile = 0; tile * LANES < rows; tile++) {
      const mixed = four.map((r) =>
        k.let(joinQuads(
          four.map((q) => load("f32x4", from, (tile * LANES + 4 * q + r) * sums.rowBytes)),
        ))
      );
      transpose(k, mixed).forEach((row, c) => {
        k.store(row, target, c * to.rowBytes + tile * k.vectorBytes);
      });
    }
  });
}
