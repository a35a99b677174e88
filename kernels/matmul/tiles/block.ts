/** Products of a block of a result by tiles: its panels are packed, multiplied and added up. */

import type { Block } from "../../language/block.ts";
import {
  add,
  bitAnd,
  div,
  equal,
  i32,
  lessThan,
  min,
  mul,
  offset,
  rem,
  sub,
} from "../../language/language.ts";
import type { ProductTarget } from "../result.ts";
import type { TileBlocking } from "./shape.ts";
import { layoutOf, liesInTiles, PANEL, SQUARE_BYTES, STEP, type TileProduct } from "./layout.ts";
import {
  packPart,
  packSteps,
  type Panel,
  panelSource,
  stepTarget,
  unitSource,
  unitTarget,
} from "./packing.ts";
import {
  addProducts,
  addScaledProducts,
  beginScaledSums,
  beginSums,
  type PackedMeanwhile,
  type Panels,
  storeSums,
  type Sums,
  sumTiles,
} from "./products.ts";
import { at, F32, type Index, type Pointer } from "../../language/vectors.ts";

/**
 * Scratch memory: the packed panels of the right factor, two of the left one, a square for packing
 * and turning, the sums of a step of blocks, sums.
 */
export function scratchOf({ left, right }: TileProduct, blocking: TileBlocking) {
  const { rows, columns, length, lengthBlocks } = blocking;
  const [leftBytes, rightBytes] = [left, right].map((factor) =>
    Math.ceil(length / STEP) * layoutOf(factor).stepBytes
  );
  const leftAt = columns / PANEL * rightBytes;
  const square = leftAt + 2 * leftBytes;
  const fresh = square + SQUARE_BYTES;
  const isScaled = [left, right].some((factor) => layoutOf(factor).scaled);
  const sums = fresh + (isScaled ? SQUARE_BYTES : 0);
  // Sums of all of k need room for one square of the result at a time only.
  const [sumRows, sumColumns] = lengthBlocks > 1 ? [rows, columns] : [PANEL, PANEL];
  const bytes = sums + sumRows * sumColumns * F32;
  return {
    leftBytes,
    rightBytes,
    leftAt,
    square,
    fresh,
    sums,
    sumRowBytes: sumColumns * F32,
    bytes,
  };
}

/** What every part of the code needs. */
export interface Context extends ProductTarget {
  readonly k: Block;
  readonly product: TileProduct;
  readonly blocking: TileBlocking;
  readonly scratch: ReturnType<typeof scratchOf>;
  readonly base: Pointer;
}

/** The block of the product that is computed, and its factors. */
export interface ResultBlock {
  readonly left: Pointer;
  readonly right: Pointer;
  readonly batch: Index;
  readonly firstRow: Index;
  readonly firstColumn: Index;
}

/** Rows or columns of a product: the first and how many, at most a panel. */
export interface Stretch {
  readonly first: Index;
  readonly count: number;
}

/** Places of k. */
export interface Length {
  readonly from: Index;
  readonly count: Index;
}

/** Runs `body` for the panels of a block, of rows or of columns, up to the result's end. */
export function forPanels(
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

/** All products of a block over some places of k; `finish` follows those of two panels. */
export function multiply(
  context: Context,
  block: ResultBlock,
  length: Length,
  finish: (rows: Stretch, columns: Stretch) => void,
): void {
  const { k, product: { turned, m, n, k: all, left, right }, blocking, scratch, base } = context;
  const steps = k.let(div(add(length.count, i32(STEP - 1)), i32(STEP)));
  const whole = k.let(div(length.count, i32(STEP)));
  const places = all % STEP;
  const square = k.let(offset(base, scratch.square));
  const panelOf = (side: "left" | "right", { first, count }: Stretch): Panel => ({
    ...{ factor: { left, right }[side], base: block[side], first, majors: count },
    ...{ place: length.from, square },
  });
  const panelNumber = (first: Index, start: Index) => k.let(div(sub(first, start), i32(PANEL)));
  const rightAt = (index: Index) => k.let(at(base, index, scratch.rightBytes));
  // Two panels of rows take turns: while one is multiplied, the next one is packed.
  const leftAt = (index: Index) =>
    k.let(at(offset(base, scratch.leftAt), rem(index, i32(2)), scratch.leftBytes));
  /** Packs the last step of a panel, where k ends within it. */
  const packEnd = (panel: Panel, to: Pointer) => {
    if (places === 0) return;
    k.if(lessThan(whole, steps), () => {
      const step = k.let(at(to, whole, layoutOf(panel.factor).stepBytes));
      packPart(k, panel, step, whole, places);
    });
  };
  const eachColumns = (body: (columns: Stretch, index: Index) => void) =>
    forPanels(k, block.firstColumn, blocking.columns, n, (columns) => {
      body(columns, panelNumber(columns.first, block.firstColumn));
    });
  eachColumns((columns, index) => {
    const [panel, to] = [panelOf("right", columns), rightAt(index)];
    packSteps(k, panel, to, whole);
    packEnd(panel, to);
  });
  const end = k.let(min(i32(m), add(block.firstRow, i32(blocking.rows))));
  const units = unitsAtOnce(context);
  forPanels(k, block.firstRow, blocking.rows, m, (rows) => {
    const index = panelNumber(rows.first, block.firstRow);
    const [panel, packed] = [panelOf("left", rows), leftAt(index)];
    const isWhole = rows.count === PANEL;
    const inMemory = isWhole && liesInTiles(left);
    const packAll = () => packSteps(k, panel, packed, whole);
    if (!isWhole) packAll();
    else if (!inMemory) k.if(equal(rows.first, block.firstRow), packAll);
    packEnd(panel, packed);
    const next = { first: k.let(add(rows.first, i32(PANEL))), count: PANEL };
    const follows = k.let(lessThan(add(rows.first, i32(2 * PANEL - 1)), end));
    eachColumns((columns, columnIndex) => {
      const products = productsOf(context, block, length, rows, columns);
      const to = rightAt(columnIndex);
      const rest = (from?: Index) => {
        const [first, second] = [left, right].map((factor, i) => {
          const start = [packed, to][i];
          return from === undefined ? start : k.let(at(start, from, layoutOf(factor).stepBytes));
        });
        const count = from === undefined ? steps : k.let(sub(steps, from));
        products.add({ left: first, packed: true, right: second, steps: count });
      };
      const unit = k.let(mul(columnIndex, i32(units)));
      if (inMemory) {
        const start = k.let(panelSource(panel).values);
        products.add({ left: start, packed: false, right: to, steps: whole });
        if (places > 0) rest(whole);
      } else if (!isWhole) rest();
      else {
        k.if(bitAnd(follows, lessThan(unit, i32(layoutOf(left).units))), () => {
          const source = unitSource(left, panelSource(panelOf("left", next)), unit);
          const target = unitTarget(left, stepTarget(leftAt(k.let(add(index, i32(1))))), unit);
          const meanwhile = { factor: left, from: source, to: target, units };
          // Few rows wait for the weights, not for the products.
          const readsAhead = turned && (left.dtype !== "f32" || left.along === 1);
          const panels = { left: packed, packed: true, right: to, steps: whole };
          products.add(panels, { ...meanwhile, readsAhead });
          if (places > 0) rest(whole);
        }, () => rest());
      }
      products.end();
      finish(rows, columns);
    });
  });
}

/** How products of two panels are added to their sums, and what comes before and after. */
function productsOf(
  context: Context,
  block: ResultBlock,
  { from }: Length,
  rows: Stretch,
  columns: Stretch,
) {
  const { k, product, blocking, scratch, base } = context;
  const factors = { leftFactor: product.left, rightFactor: product.right };
  const sums = sumsOf(context, block, rows, columns);
  const begins = blocking.lengthBlocks === 1 ? i32(1) : equal(from, i32(0));
  const isScaled = Object.values(factors).some((factor) => layoutOf(factor).scaled);
  const fresh: Sums = {
    ...sumTiles(rows.count, columns.count),
    ...{ at: k.let(offset(base, scratch.fresh)), rowBytes: PANEL * F32 },
  };
  if (isScaled) beginScaledSums(k, sums, begins);
  else beginSums(k, sums, begins);
  return {
    add: (panels: Omit<Panels, keyof typeof factors>, meanwhile?: PackedMeanwhile) => {
      const all = { ...panels, ...factors };
      if (isScaled) addScaledProducts(k, sums, all, fresh, meanwhile);
      else addProducts(k, sums, all, meanwhile);
    },
    end: () => {
      if (!isScaled) storeSums(k, sums);
    },
  };
}

/** Units of the next panel of rows that are packed with one panel of columns, so that all are. */
function unitsAtOnce({ product: { n, left }, blocking: { columns, columnBlocks } }: Context) {
  const { units: most } = layoutOf(left);
  // The last block has fewer panels.
  const panels = Math.ceil((n - (columnBlocks - 1) * columns) / PANEL);
  return [1, 2, 4].find((units) => units * panels >= most) ?? most;
}

/** The sums of two panels: in a place of their own where k is in parts. */
export function sumsOf(
  { k, blocking, scratch, base }: Context,
  block: ResultBlock,
  rows: Stretch,
  columns: Stretch,
): Sums {
  const rowBytes = scratch.sumRowBytes;
  const tiles = sumTiles(rows.count, columns.count);
  const sums = offset(base, scratch.sums);
  if (blocking.lengthBlocks === 1) return { ...tiles, at: k.let(sums), rowBytes };
  const row = at(sums, sub(rows.first, block.firstRow), rowBytes);
  return { ...tiles, at: k.let(at(row, sub(columns.first, block.firstColumn), F32)), rowBytes };
}
