/** Products of two packed panels (tile_packing.ts), added up in tiles. */

import type { Block } from "./block.ts";
import { equal, fma, i32, load } from "./language.ts";
import { TILES } from "./syntax.ts";
import {
  type Factor,
  layoutOf,
  type Source,
  stepDistance,
  TILE_BYTES,
  tileOffset,
} from "./tile_layout.ts";
import { packUnit, prefetchTiles, unitSource, unitTarget } from "./tile_packing.ts";
import { advance, at, type Index, type Pointer, type V, variable } from "./vectors.ts";

/**
 * The parts of both factors that are multiplied, 0 the highest: small products first, and one factor
 * of each as in the one before where that is possible. What has one part only comes to the same sums
 * as if it had others that are 0.
 */
const PRODUCTS = [[2, 0], [1, 0], [0, 0], [0, 2], [0, 1], [1, 1]] as const;

/** Tiles that hold the parts of two panels that are multiplied; those before hold sums. */
const LEFT = [4, 5];
const RIGHT = [6, 7];

/** A tile of sums: its number, and its place among those of two panels. */
interface SumTile {
  readonly tile: number;
  readonly row: number;
  readonly column: number;
}

/** The sums of two panels, in rows of memory. */
export interface Sums {
  readonly rows: number;
  readonly tiles: readonly SumTile[];
  readonly at: Pointer;
  readonly rowBytes: number;
}

/** The sums of panels that have so many rows and columns. */
export function sumTiles(rows: number, columns: number): Pick<Sums, "rows" | "tiles"> {
  const of = (count: number) => [0, 1].filter((place) => place * TILES.rows < count);
  const tiles = of(rows).flatMap((row) =>
    of(columns).map((column) => ({ tile: 2 * row + column, row, column }))
  );
  return { rows, tiles };
}

/** Loads sums from memory or stores them there. */
function moveSums(k: Block, op: "load" | "store", { tiles, at, rowBytes }: Sums): void {
  for (const { tile, row, column } of tiles) {
    const offset = row * TILES.rows * rowBytes + column * TILES.rowBytes;
    k.tile(tile, { op, at, offset, stride: rowBytes });
  }
}

const clear = (k: Block, { tiles }: Sums) =>
  tiles.forEach(({ tile }) => k.tile(tile, { op: "zero" }));

/** Lets sums begin with 0, where `begins` is 1, or with what is in memory. */
export function beginSums(k: Block, sums: Sums, begins: Index): void {
  if (begins.kind === "const") {
    if (begins.value === 1) clear(k, sums);
    else moveSums(k, "load", sums);
    return;
  }
  k.if(equal(begins, i32(0)), () => moveSums(k, "load", sums), () => clear(k, sums));
}

/** Lets sums that stay in memory begin with 0 where `begins` is 1. */
export function beginScaledSums(
  k: Block,
  { rows, at: first, rowBytes }: Sums,
  begins: Index,
): void {
  k.if(begins, () => {
    k.for(0, rows, 1, (row) => k.zero(at(first, row, rowBytes), 2 * TILES.rowBytes));
  });
}

export const storeSums = (k: Block, sums: Sums): void => moveSums(k, "store", sums);

/** Two packed panels, from some step on. */
export interface PackedPanels {
  readonly left: Pointer;
  readonly leftFactor: Factor;
  readonly right: Pointer;
  readonly rightFactor: Factor;
  readonly steps: Index;
}

/** Units of another panel, to be packed with every step: where those of the first step are. */
export interface PackedMeanwhile {
  readonly factor: Factor;
  readonly from: Source;
  readonly to: Pointer;
  readonly units: number;
  /** Whether to ask for the numbers of the panel after that one; then units are of whole tiles. */
  readonly readsAhead: boolean;
}

/** Pointers into panels, and what moves them a step on. */
function walk(k: Block, panels: PackedPanels, meanwhile?: PackedMeanwhile) {
  const [a, b] = [variable(k, panels.left), variable(k, panels.right)];
  const [left, right] = [layoutOf(panels.leftFactor), layoutOf(panels.rightFactor)];
  const moves: [Pointer, number][] = [[a, left.stepBytes], [b, right.stepBytes]];
  let pack = () => {};
  if (meanwhile !== undefined) {
    const { factor, units, readsAhead } = meanwhile;
    const { scaled, stepBytes } = layoutOf(factor);
    const distance = stepDistance(factor);
    const [values, to] = [variable(k, meanwhile.from.values), variable(k, meanwhile.to)];
    const scales = scaled ? variable(k, meanwhile.from.scales) : values;
    moves.push([values, distance.values], [to, stepBytes]);
    if (scaled) moves.push([scales, distance.scales]);
    const tiles = 2 * units / layoutOf(factor).units;
    pack = () => {
      if (readsAhead) prefetchTiles(k, factor, values, tiles);
      for (let unit = 0; unit < units; unit++) {
        const source = unitSource(factor, { values, scales }, i32(unit));
        packUnit(k, factor, source, unitTarget(factor, to, i32(unit)));
      }
    };
  }
  return { a, b, left, right, pack, advance: () => advance(k, moves) };
}

/** The products of one step. */
function multiplyStep(
  k: Block,
  { tiles }: Sums,
  { a, b, left, right }: ReturnType<typeof walk>,
): void {
  const rows = [...new Set(tiles.map(({ row }) => row))];
  const columns = [...new Set(tiles.map(({ column }) => column))];
  let held: readonly [number, number] = [-1, -1];
  for (const [i, j] of PRODUCTS) {
    if (i >= left.parts || j >= right.parts) continue;
    const take = (tile: number, at: Pointer, offset: number) =>
      k.tile(tile, { op: "load", at, offset, stride: TILES.rowBytes });
    if (held[0] !== i) rows.forEach((row) => take(LEFT[row], a, tileOffset(left, i, row)));
    if (held[1] !== j) {
      columns.forEach((column) => take(RIGHT[column], b, tileOffset(right, j, column)));
    }
    held = [i, j];
    for (const { tile, row, column } of tiles) {
      k.tile(tile, { op: "product", left: LEFT[row], right: RIGHT[column] });
    }
  }
}

/**
 * Adds the products of two panels to their sums. Tiles are multiplied by a unit of the processor that
 * nothing else needs, so that what is packed meanwhile costs next to nothing.
 */
export function addProducts(
  k: Block,
  sums: Sums,
  panels: PackedPanels,
  meanwhile?: PackedMeanwhile,
): void {
  const state = walk(k, panels, meanwhile);
  k.for(0, panels.steps, 1, () => {
    multiplyStep(k, sums, state);
    state.pack();
    state.advance();
  });
}

/**
 * As `addProducts`, where steps of the right panel are blocks with scales: a step's sums go to memory
 * at `fresh`, in rows as those of the sums, and while the next ones are computed they are added to
 * the sums in memory, times the scales.
 */
export function addScaledProducts(
  k: Block,
  sums: Sums,
  panels: PackedPanels,
  fresh: Sums,
  meanwhile?: PackedMeanwhile,
): void {
  const state = walk(k, panels, meanwhile);
  const columns = [...new Set(sums.tiles.map(({ column }) => column))];
  const before = variable(k, panels.right);
  const addFresh = () => {
    const scales = columns.map((column) =>
      k.let(load(k.vector, before, tileOffset(state.right, 0, column) + TILE_BYTES))
    );
    k.for(0, sums.rows, 1, (row) => {
      const [from, to] = [fresh, sums].map((each) => k.let(at(each.at, row, each.rowBytes)));
      columns.forEach((column, c) => {
        const place = column * TILES.rowBytes;
        const sum: V = fma(load(k.vector, from, place), scales[c], load(k.vector, to, place));
        k.store(sum, to, place);
      });
    });
  };
  // There is nothing before the first step.
  k.zero(fresh.at, sums.rows * fresh.rowBytes);
  k.for(0, panels.steps, 1, () => {
    clear(k, fresh);
    multiplyStep(k, sums, state);
    addFresh();
    moveSums(k, "store", fresh);
    state.pack();
    k.set(before, state.b);
    state.advance();
  });
  addFresh();
}
