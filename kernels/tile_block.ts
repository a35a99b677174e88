/** Products of a block of a result by tiles: its panels are packed, multiplied and added up. */

import type { Block } from "./block.ts";
import { add, bitAnd, div, equal, i32, lessThan, min, mul, offset, rem, sub } from "./language.ts";
import type { MatmulShape } from "./kernel.ts";
import type { ProductTarget } from "./matmul_result.ts";
import type { TileBlocking } from "./tile_matmul_shape.ts";
import {
  type Factor,
  layoutOf,
  leftOf,
  PANEL,
  rightOf,
  SQUARE_BYTES,
  STEP,
} from "./tile_layout.ts";
import {
  packPart,
  packSteps,
  type Panel,
  panelSource,
  unitSource,
  unitTarget,
} from "./tile_packing.ts";
import {
  addProducts,
  addScaledProducts,
  beginScaledSums,
  beginSums,
  type PackedMeanwhile,
  storeSums,
  type Sums,
  sumTiles,
} from "./tile_products.ts";
import { at, F32, type Index, type Pointer } from "./vectors.ts";

/** Which factor's panels of a block are packed first, and which one's pass by. */
function sidesOf(shape: MatmulShape, { held, rows, columns }: TileBlocking) {
  const [left, right] = [leftOf(shape), rightOf(shape)];
  return held === "left"
    ? { held: left, passing: right, heldSize: rows }
    : { held: right, passing: left, heldSize: columns };
}

/**
 * Scratch memory: the held panels, two passing ones, a square for packing, the sums of a step of
 * blocks, sums.
 */
export function scratchOf(shape: MatmulShape, blocking: TileBlocking) {
  const { rows, columns, length, lengthBlocks } = blocking;
  const { held, passing, heldSize } = sidesOf(shape, blocking);
  const bytesOf = (factor: Factor) => Math.ceil(length / STEP) * layoutOf(factor).stepBytes;
  const [heldBytes, passingBytes] = [bytesOf(held), bytesOf(passing)];
  const pass = heldSize / PANEL * heldBytes;
  const square = pass + 2 * passingBytes;
  const fresh = square + SQUARE_BYTES;
  const sums = fresh + (layoutOf(rightOf(shape)).scaled ? PANEL * PANEL * F32 : 0);
  // Sums of all of k need room for one square of the result at a time only.
  const [sumRows, sumColumns] = lengthBlocks > 1 ? [rows, columns] : [PANEL, PANEL];
  const bytes = sums + sumRows * sumColumns * F32;
  return {
    heldBytes,
    passingBytes,
    pass,
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
  readonly blocking: TileBlocking;
  readonly scratch: ReturnType<typeof scratchOf>;
  readonly base: Pointer;
}

/** The block of the result that is computed, and its factors. */
export interface ResultBlock {
  readonly a: Pointer;
  readonly b: Pointer;
  readonly batch: Index;
  readonly firstRow: Index;
  readonly firstColumn: Index;
}

/** Rows or columns of the result: the first and how many, at most a panel. */
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

/** A factor's part in the products of a block: its rows or columns there, and where they are packed. */
interface Side {
  readonly factor: Factor;
  readonly first: Index;
  readonly size: number;
  readonly all: number;
  readonly base: Pointer;
  /** The number of a panel, given its first row or column; and where it is packed to. */
  readonly index: (first: Index) => Index;
  readonly packed: (index: Index) => Pointer;
}

function sides(
  { k, shape, blocking, scratch, base }: Context,
  { a, b, firstRow, firstColumn }: ResultBlock,
): { held: Side; passing: Side } {
  const { rows, columns } = blocking;
  const left = { factor: leftOf(shape), first: firstRow, size: rows, all: shape.m, base: a };
  const right = {
    factor: rightOf(shape),
    first: firstColumn,
    size: columns,
    all: shape.n,
    base: b,
  };
  const [held, passing] = blocking.held === "left" ? [left, right] : [right, left];
  const index = ({ first }: typeof left | typeof right) => (panel: Index) =>
    k.let(div(sub(panel, first), i32(PANEL)));
  return {
    held: {
      ...held,
      index: index(held),
      packed: (index) => k.let(at(base, index, scratch.heldBytes)),
    },
    // Two panels take turns: while one is multiplied, the next one is packed.
    passing: {
      ...passing,
      index: index(passing),
      packed: (index) =>
        k.let(at(offset(base, scratch.pass), rem(index, i32(2)), scratch.passingBytes)),
    },
  };
}

/** All products of a block over some places of k; `finish` follows those of two panels. */
export function multiply(
  context: Context,
  block: ResultBlock,
  length: Length,
  finish: (rows: Stretch, columns: Stretch) => void,
): void {
  const { k, shape, blocking, scratch, base } = context;
  const { held, passing } = sides(context, block);
  const steps = k.let(div(add(length.count, i32(STEP - 1)), i32(STEP)));
  const whole = k.let(div(length.count, i32(STEP)));
  const places = shape.k % STEP;
  const square = k.let(offset(base, scratch.square));
  const panelOf = ({ factor, base }: Side, { first, count }: Stretch): Panel => ({
    ...{ factor, base, first, majors: count, place: length.from, square },
  });
  /** Packs the last step of a panel, where k ends within it. */
  const packEnd = (panel: Panel, to: Pointer) => {
    if (places === 0) return;
    const step = layoutOf(panel.factor).stepBytes;
    k.if(lessThan(whole, steps), () => {
      packPart(k, panel, k.let(at(to, whole, step)), whole, places);
    });
  };
  const eachHeld = (body: (stretch: Stretch, index: Index) => void) =>
    forPanels(k, held.first, held.size, held.all, (stretch) => {
      body(stretch, held.index(stretch.first));
    });
  eachHeld((stretch, index) => {
    const [panel, to] = [panelOf(held, stretch), held.packed(index)];
    packSteps(k, panel, to, whole);
    packEnd(panel, to);
  });
  const end = k.let(min(i32(passing.all), add(passing.first, i32(passing.size))));
  const units = unitsAtOnce(held, passing.factor);
  forPanels(k, passing.first, passing.size, passing.all, (stretch) => {
    const index = passing.index(stretch.first);
    const [panel, packed] = [panelOf(passing, stretch), passing.packed(index)];
    const isWhole = stretch.count === PANEL;
    if (!isWhole) packSteps(k, panel, packed, whole);
    else k.if(equal(stretch.first, passing.first), () => packSteps(k, panel, packed, whole));
    packEnd(panel, packed);
    const next = { first: k.let(add(stretch.first, i32(PANEL))), count: PANEL };
    const follows = k.let(lessThan(add(stretch.first, i32(2 * PANEL - 1)), end));
    eachHeld((heldStretch, heldIndex) => {
      const [rows, columns] = blocking.held === "left"
        ? [heldStretch, stretch]
        : [stretch, heldStretch];
      const products = productsOf(context, block, length, rows, columns);
      const [left, right] = blocking.held === "left"
        ? [held.packed(heldIndex), packed]
        : [packed, held.packed(heldIndex)];
      const rest = (from: Index | undefined) => {
        const [first, second] = [left, right].map((panel, i) =>
          from === undefined
            ? panel
            : k.let(at(panel, from, layoutOf([leftOf, rightOf][i](shape)).stepBytes))
        );
        products.add(first, second, from === undefined ? steps : k.let(sub(steps, from)));
      };
      const unit = k.let(mul(heldIndex, i32(units)));
      if (!isWhole) rest(undefined);
      else {
        k.if(bitAnd(follows, lessThan(unit, i32(layoutOf(passing.factor).units))), () => {
          const { factor } = passing;
          const source = unitSource(factor, panelSource(panelOf(passing, next)), unit);
          const from = { values: k.let(source.values), scales: k.let(source.scales) };
          const to = k.let(unitTarget(factor, passing.packed(k.let(add(index, i32(1)))), unit));
          const readsAhead = blocking.held === "left" &&
            (factor.dtype !== "f32" || factor.along === 1);
          products.add(left, right, whole, { factor, from, to, units, readsAhead });
          if (places > 0) rest(whole);
        }, () => rest(undefined));
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
  const { k, shape, blocking, scratch, base } = context;
  const sums = sumsOf(context, block, rows, columns);
  const begins = blocking.lengthBlocks === 1 ? i32(1) : equal(from, i32(0));
  const [leftFactor, rightFactor] = [leftOf(shape), rightOf(shape)];
  const { scaled } = layoutOf(rightFactor);
  const fresh = {
    ...sumTiles(rows.count, columns.count),
    ...{ at: k.let(offset(base, scratch.fresh)), rowBytes: PANEL * F32 },
  };
  if (scaled) beginScaledSums(k, sums, begins);
  else beginSums(k, sums, begins);
  return {
    add: (left: Pointer, right: Pointer, steps: Index, meanwhile?: PackedMeanwhile) => {
      const panels = { left, leftFactor, right, rightFactor, steps };
      if (scaled) addScaledProducts(k, sums, panels, fresh, meanwhile);
      else addProducts(k, sums, panels, meanwhile);
    },
    end: () => {
      if (!scaled) storeSums(k, sums);
    },
  };
}

/** Units of the next passing panel that are packed with one held panel, so that all are. */
function unitsAtOnce({ size, all }: Side, passing: Factor): number {
  const { units: most } = layoutOf(passing);
  // The last block has fewer panels.
  const panels = Math.ceil((all - Math.floor((all - 1) / size) * size) / PANEL);
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
