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
import { type Block, kernel } from "./block.ts";
import {
  add,
  bitAnd,
  div,
  equal,
  i32,
  lessThan,
  load,
  min,
  mul,
  offset,
  rem,
  sub,
} from "./language.ts";
import type { KernelCode, Lanes } from "./syntax.ts";
import {
  epilogueKey,
  productCost,
  productParameters,
  type ProductTarget,
  storeRow,
} from "./matmul_result.ts";
import { leftOf, rightOf, type TileBlocking, tileBlockingOf } from "./tile_matmul_shape.ts";
import {
  type Factor,
  packPart,
  packSteps,
  PANEL,
  type Panel,
  SQUARE_BYTES,
  STEP,
  STEP_BYTES,
  UNITS,
  unitSource,
  unitTarget,
} from "./tile_packing.ts";
import { addProducts, beginSums, storeSums, type Sums, sumTiles } from "./tile_products.ts";
import { at, F32, type Index, type Pointer } from "./vectors.ts";

/** Lanes of a row of a tile of sums. */
const LANES: Lanes = 16;

/** Scratch memory: packed columns, two packed panels of rows, a square for packing, sums. */
function scratchOf({ rows, columns, length, lengthBlocks }: TileBlocking) {
  const panelBytes = Math.ceil(length / STEP) * STEP_BYTES;
  const left = columns / PANEL * panelBytes;
  const square = left + 2 * panelBytes;
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

/** A block's factors over some places of k, as panels, and where these are packed to. */
interface Panels {
  /** Whole steps, and all with the part of one at the end of k. */
  readonly whole: Index;
  readonly steps: Index;
  readonly left: (index: Index) => Pointer;
  readonly right: (index: Index) => Pointer;
  readonly rows: (rows: Stretch) => Panel;
  readonly columns: (columns: Stretch) => Panel;
}

function panelsOf(
  { k, shape, scratch, base }: Context,
  block: ResultBlock,
  { from, count }: Length,
): Panels {
  const square = k.let(offset(base, scratch.square));
  const panelOf = (factor: Factor, start: Pointer) => ({ first, count: majors }: Stretch) => {
    const place = at(at(start, first, factor.major * F32), from, factor.along * F32);
    return { from: k.let(place), majors, square };
  };
  return {
    whole: k.let(div(count, i32(STEP))),
    steps: k.let(div(add(count, i32(STEP - 1)), i32(STEP))),
    right: (index) => k.let(at(base, index, scratch.panelBytes)),
    // Two panels of rows take turns: while one is multiplied, the next one is packed.
    left: (index) => k.let(at(offset(base, scratch.left), rem(index, i32(2)), scratch.panelBytes)),
    rows: panelOf(leftOf(shape), block.a),
    columns: panelOf(rightOf(shape), block.b),
  };
}

/** All products of a block over some places of k. */
function multiply(context: Context, block: ResultBlock, length: Length): void {
  const { k, shape, blocking } = context;
  const panels = panelsOf(context, block, length);
  const { whole, steps } = panels;
  const [a, b] = [leftOf(shape), rightOf(shape)];
  const places = shape.k % STEP;
  /** Packs the last step of a panel, where k ends within it. */
  const packEnd = (factor: Factor, panel: Panel, to: Pointer) => {
    if (places === 0) return;
    k.if(lessThan(whole, steps), () => {
      const from = k.let(at(panel.from, whole, STEP * factor.along * F32));
      packPart(k, factor, { ...panel, from }, k.let(at(to, whole, STEP_BYTES)), places);
    });
  };
  const eachColumns = (body: (columns: Stretch, index: Index) => void) =>
    forPanels(k, block.firstColumn, blocking.columns, shape.n, (columns) => {
      body(columns, k.let(div(sub(columns.first, block.firstColumn), i32(PANEL))));
    });
  eachColumns((columns, index) => {
    const [panel, to] = [panels.columns(columns), panels.right(index)];
    packSteps(k, b, panel, to, whole);
    packEnd(b, panel, to);
  });
  const end = k.let(min(i32(shape.m), add(block.firstRow, i32(blocking.rows))));
  const units = unitsAtOnce(shape, blocking);
  forPanels(k, block.firstRow, blocking.rows, shape.m, (rows) => {
    const index = k.let(div(sub(rows.first, block.firstRow), i32(PANEL)));
    const [panel, left] = [panels.rows(rows), panels.left(index)];
    const isWhole = rows.count === PANEL;
    if (!isWhole) packSteps(k, a, panel, left, whole);
    else k.if(equal(rows.first, block.firstRow), () => packSteps(k, a, panel, left, whole));
    packEnd(a, panel, left);
    const next = { first: k.let(add(rows.first, i32(PANEL))), count: PANEL };
    const follows = k.let(lessThan(add(rows.first, i32(2 * PANEL - 1)), end));
    eachColumns((columns, columnIndex) => {
      const sums = sumsOf(context, block, rows, columns);
      const right = panels.right(columnIndex);
      beginSums(k, sums, blocking.lengthBlocks === 1 ? i32(1) : equal(length.from, i32(0)));
      const unit = k.let(mul(columnIndex, i32(units)));
      const rest = (from: Index | undefined) => {
        const [first, second] = [left, right].map((panel) =>
          from === undefined ? panel : k.let(at(panel, from, STEP_BYTES))
        );
        const count = from === undefined ? steps : k.let(sub(steps, from));
        addProducts(k, sums, { left: first, right: second, steps: count });
      };
      if (!isWhole) rest(undefined);
      else {
        k.if(bitAnd(follows, lessThan(unit, i32(UNITS))), () => {
          const from = k.let(unitSource(a, panels.rows(next).from, unit));
          const to = k.let(unitTarget(panels.left(add(index, i32(1))), unit));
          addProducts(k, sums, { left, right, steps: whole }, { factor: a, from, to, units });
          if (places > 0) rest(whole);
        }, () => rest(undefined));
      }
      storeSums(k, sums);
      if (blocking.lengthBlocks === 1) finish(context, block, rows, columns);
    });
  });
}

/** Units of the next panel of rows that are packed with one panel of columns, so that all are. */
function unitsAtOnce({ n }: MatmulShape, { columns, columnBlocks }: TileBlocking): number {
  const panels = Math.ceil((n - (columnBlocks - 1) * columns) / PANEL);
  return [1, 2, 4].find((units) => units * panels >= UNITS) ?? UNITS;
}

/** The sums of two panels: in a place of their own where k is in parts. */
function sumsOf(
  { k, blocking, scratch, base }: Context,
  block: ResultBlock,
  rows: Stretch,
  columns: Stretch,
): Sums {
  const rowBytes = scratch.sumRowBytes;
  const tiles = sumTiles(rows.count, columns.count);
  const sums = offset(base, scratch.sums);
  if (blocking.lengthBlocks === 1) return { tiles, at: k.let(sums), rowBytes };
  const row = at(sums, sub(rows.first, block.firstRow), rowBytes);
  return { tiles, at: k.let(at(row, sub(columns.first, block.firstColumn), F32)), rowBytes };
}

/** Takes the sums of two panels through the epilogue into the results. */
function finish(context: Context, block: ResultBlock, rows: Stretch, columns: Stretch): void {
  const { k: widest, epilogue } = context;
  const k = epilogue === undefined ? widest : widest.withLanes(loopLanes(LANES, epilogue.loop));
  const sums = sumsOf(context, block, rows, columns);
  k.for(0, rows.count, 1, (row) => {
    const from = k.let(at(sums.at, row, sums.rowBytes));
    const part = {
      batch: block.batch,
      row: k.let(add(rows.first, row)),
      column: columns.first,
      columns: columns.count,
    };
    storeRow(k, context, part, (vector) => load(k.vector, from, vector * k.vectorBytes));
  });
}
