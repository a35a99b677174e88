/**
 * Matrix products of f32 by tiles of bf16, on processors with AMX. Of the nine products of the three
 * parts of a number (tile_packing.ts) with those of another, six are added; the others are less than
 * 2^−24 of the whole. Tiles add up in f32, so that the result is as good as that of sums in f32.
 *
 * Infinities become NaN, and what is below 2^−110 loses bits: bf16 has no smaller parts.
 */

import type { Epilogue } from "../graph/step.ts";
import { loopLanes } from "./body.ts";
import type { Kernel, MatmulShape } from "./kernel.ts";
import {
  add,
  type Block,
  div,
  equal,
  i32,
  kernel,
  type KernelCode,
  type Lanes,
  lessThan,
  load,
  min,
  mul,
  offset,
  rem,
  sub,
  TILES,
} from "./language.ts";
import {
  epilogueKey,
  productCost,
  productParameters,
  type ProductTarget,
  storeRow,
} from "./matmul_result.ts";
import { leftOf, rightOf, type TileBlocking, tileBlockingOf } from "./tile_matmul_shape.ts";
import { packTiles, PANEL, SQUARE_BYTES, STEP, STEP_BYTES, tileOffset } from "./tile_packing.ts";
import { advance, at, F32, type Index, type Pointer, variable } from "./vectors.ts";

/** Lanes of a row of a tile of sums. */
const LANES: Lanes = 16;

/**
 * The parts of both factors that are multiplied, 0 the highest: small products first, and one factor
 * of each as in the one before where that is possible.
 */
const PRODUCTS = [[2, 0], [1, 0], [0, 0], [0, 2], [0, 1], [1, 1]] as const;

/** Scratch memory: packed columns, a packed panel of rows, a square for packing, sums. */
function scratchOf({ rows, columns, length, lengthBlocks }: TileBlocking) {
  const panelBytes = Math.ceil(length / STEP) * STEP_BYTES;
  const left = columns / PANEL * panelBytes;
  const square = left + panelBytes;
  const sums = square + SQUARE_BYTES;
  // Sums of all of k need room for one square of the result at a time only.
  const [sumRows, sumColumns] = lengthBlocks > 1 ? [rows, columns] : [PANEL, PANEL];
  const bytes = sums + sumRows * sumColumns * F32;
  return { panelBytes, left, square, sums, sumRowBytes: sumColumns * F32, bytes };
}

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
    scratchBytes: scratchOf(blocking).bytes,
    ...productCost(shape, epilogue),
  };
}

/** What every part of the code needs. */
interface Context extends ProductTarget {
  readonly k: Block;
  readonly blocking: TileBlocking;
  readonly scratch: ReturnType<typeof scratchOf>;
  readonly base: Pointer;
}

/** The block of the result that is computed, and its factors. */
interface ResultBlock {
  readonly a: Pointer;
  readonly b: Pointer;
  readonly batch: Index;
  readonly firstRow: Index;
  readonly firstColumn: Index;
}

/** Rows or columns of the result: the first and how many, at most a panel. */
interface Stretch {
  readonly first: Index;
  readonly count: number;
}

/** Places of k. */
interface Length {
  readonly from: Index;
  readonly count: Index;
}

function tileMatmulCode(
  shape: MatmulShape,
  blocking: TileBlocking,
  epilogue?: Epilogue,
): KernelCode {
  return kernel("tile matmul", productParameters(epilogue), (k, all) => {
    const args = all as unknown as Record<string, Pointer>;
    const { rows, rowBlocks, columns, columnBlocks, length, lengthBlocks } = blocking;
    const scratch = scratchOf(blocking);
    const context = { k, shape, blocking, epilogue, args, scratch, base: args.scratch };
    k.for(all.begin, all.end, 1, (item) => {
      const columnBlock = k.let(div(item, i32(rowBlocks)));
      const batch = k.let(div(columnBlock, i32(columnBlocks)));
      const block = {
        a: k.let(at(args.a, batch, shape.a.batchStride * F32)),
        b: k.let(at(args.b, batch, shape.b.batchStride * F32)),
        batch,
        firstRow: k.let(mul(rem(item, i32(rowBlocks)), i32(rows))),
        firstColumn: k.let(mul(rem(columnBlock, i32(columnBlocks)), i32(columns))),
      };
      if (lengthBlocks === 1) {
        return multiply(context, block, { from: i32(0), count: i32(shape.k) });
      }
      k.for(0, shape.k, length, (from) => {
        multiply(context, block, { from, count: k.let(min(i32(length), sub(i32(shape.k), from))) });
      });
      forPanels(k, block.firstRow, rows, shape.m, (rows) => {
        forPanels(k, block.firstColumn, columns, shape.n, (columns) => {
          finish(context, block, rows, columns);
        });
      });
    });
  }, LANES);
}

/** Runs `body` for the panels of a block, of rows or of columns, up to the result's end. */
function forPanels(
  k: Block,
  first: Index,
  size: number,
  all: number,
  body: (stretch: Stretch) => void,
): void {
  const whole = all - all % PANEL;
  const end = k.let(add(first, i32(size)));
  k.for(first, min(end, i32(whole)), PANEL, (first) => body({ first, count: PANEL }));
  if (whole === all) return;
  k.if(lessThan(i32(whole), end), () => body({ first: k.let(i32(whole)), count: all - whole }));
}

/** All products of a block over some places of k. */
function multiply(context: Context, block: ResultBlock, { from, count }: Length): void {
  const { k, shape, blocking, scratch, base } = context;
  const square = k.let(offset(base, scratch.square));
  const left = k.let(offset(base, scratch.left));
  const steps = k.let(div(add(count, i32(STEP - 1)), i32(STEP)));
  const rest = shape.k % STEP;
  const start = (factor: Pointer, { first }: Stretch, major: number, along: number) =>
    k.let(at(at(factor, first, major * F32), from, along * F32));
  const right = ({ first }: Stretch) =>
    k.let(at(base, div(sub(first, block.firstColumn), i32(PANEL)), scratch.panelBytes));
  const eachColumns = (body: (columns: Stretch) => void) =>
    forPanels(k, block.firstColumn, blocking.columns, shape.n, body);
  const [a, b] = [leftOf(shape), rightOf(shape)];
  eachColumns((columns) => {
    const source = start(block.b, columns, b.major, b.along);
    const panel = { to: right(columns), from: source, majors: columns.count, square };
    packTiles(k, b, panel, count, rest);
  });
  forPanels(k, block.firstRow, blocking.rows, shape.m, (rows) => {
    const source = start(block.a, rows, a.major, a.along);
    packTiles(k, a, { to: left, from: source, majors: rows.count, square }, count, rest);
    eachColumns((columns) => {
      const sums = sumsAt(context, block, rows, columns);
      const tiles = sumTiles(rows, columns, scratch.sumRowBytes);
      const startFrom = (op: "zero" | "load") =>
        tiles.forEach(({ tile, bytes }) =>
          k.tile(
            tile,
            op === "zero" ? { op } : { op, at: sums, offset: bytes, stride: scratch.sumRowBytes },
          )
        );
      if (blocking.lengthBlocks === 1) startFrom("zero");
      else k.if(equal(from, i32(0)), () => startFrom("zero"), () => startFrom("load"));
      multiplyPanels(k, left, right(columns), steps, tiles);
      for (const { tile, bytes } of tiles) {
        const stride = scratch.sumRowBytes;
        k.tile(tile, { op: "store", at: sums, offset: bytes, stride });
      }
      if (blocking.lengthBlocks === 1) finish(context, block, rows, columns);
    });
  });
}

/** A tile of sums: its number, its place among those of two panels, and where it is stored. */
interface SumTile {
  readonly tile: number;
  readonly row: number;
  readonly column: number;
  readonly bytes: number;
}

/** Tiles of the sums of two panels, which have one or two of them each. */
function sumTiles(rows: Stretch, columns: Stretch, rowBytes: number): SumTile[] {
  const { rows: size } = TILES;
  return [0, 1].flatMap((row) =>
    [0, 1].flatMap((column) => {
      if (row * size >= rows.count || column * size >= columns.count) return [];
      const bytes = row * size * rowBytes + column * TILES.rowBytes;
      return [{ tile: 2 * row + column, row, column, bytes }];
    })
  );
}

/** Tiles that hold the parts of two panels that are multiplied. */
const LEFT = [4, 5];
const RIGHT = [6, 7];

/** Adds the products of two packed panels to tiles. */
function multiplyPanels(
  k: Block,
  left: Pointer,
  right: Pointer,
  steps: Index,
  sums: readonly SumTile[],
): void {
  const [a, b] = [variable(k, left), variable(k, right)];
  const rows = [...new Set(sums.map(({ row }) => row))];
  const columns = [...new Set(sums.map(({ column }) => column))];
  k.for(0, steps, 1, () => {
    let held: readonly [number, number] = [-1, -1];
    for (const [i, j] of PRODUCTS) {
      const take = (tile: number, from: Pointer, part: number, which: number) =>
        k.tile(tile, {
          ...{ op: "load", at: from, offset: tileOffset(part, which), stride: TILES.rowBytes },
        });
      if (held[0] !== i) rows.forEach((row) => take(LEFT[row], a, i, row));
      if (held[1] !== j) columns.forEach((column) => take(RIGHT[column], b, j, column));
      held = [i, j];
      for (const { tile, row, column } of sums) {
        k.tile(tile, { op: "product", left: LEFT[row], right: RIGHT[column] });
      }
    }
    advance(k, [[a, STEP_BYTES], [b, STEP_BYTES]]);
  });
}

/** Where the sums of two panels are. */
function sumsAt(
  { k, blocking, scratch, base }: Context,
  block: ResultBlock,
  rows: Stretch,
  columns: Stretch,
): Pointer {
  const sums = offset(base, scratch.sums);
  if (blocking.lengthBlocks === 1) return k.let(sums);
  const row = at(sums, sub(rows.first, block.firstRow), scratch.sumRowBytes);
  return k.let(at(row, sub(columns.first, block.firstColumn), F32));
}

/** Takes the sums of two panels through the epilogue into the results. */
function finish(context: Context, block: ResultBlock, rows: Stretch, columns: Stretch): void {
  const { k: widest, epilogue, scratch } = context;
  const k = epilogue === undefined ? widest : widest.withLanes(loopLanes(LANES, epilogue.loop));
  const sums = sumsAt(context, block, rows, columns);
  k.for(0, rows.count, 1, (row) => {
    const from = k.let(at(sums, row, scratch.sumRowBytes));
    const part = {
      batch: block.batch,
      row: k.let(add(rows.first, row)),
      column: columns.first,
      columns: columns.count,
    };
    storeRow(k, context, part, (vector) => load(k.vector, from, vector * k.vectorBytes));
  });
}
