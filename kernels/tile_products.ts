/** Products of two packed panels (tile_packing.ts), added up in tiles. */

import type { Block } from "./block.ts";
import { equal, i32 } from "./language.ts";
import { TILES } from "./syntax.ts";
import {
  type Factor,
  packUnit,
  STEP,
  STEP_BYTES,
  tileOffset,
  unitSource,
  unitTarget,
} from "./tile_packing.ts";
import { advance, F32, type Index, type Pointer, variable } from "./vectors.ts";

/**
 * The parts of both factors that are multiplied, 0 the highest: small products first, and one factor
 * of each as in the one before where that is possible.
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
  readonly tiles: readonly SumTile[];
  readonly at: Pointer;
  readonly rowBytes: number;
}

/** Tiles of the sums of panels that have so many rows and columns. */
export function sumTiles(rows: number, columns: number): SumTile[] {
  const of = (count: number) => [0, 1].filter((place) => place * TILES.rows < count);
  return of(rows).flatMap((row) =>
    of(columns).map((column) => ({ tile: 2 * row + column, row, column }))
  );
}

/** Loads sums from memory or stores them there. */
function moveSums(k: Block, op: "load" | "store", { tiles, at, rowBytes }: Sums): void {
  for (const { tile, row, column } of tiles) {
    const offset = row * TILES.rows * rowBytes + column * TILES.rowBytes;
    k.tile(tile, { op, at, offset, stride: rowBytes });
  }
}

/** Lets sums begin with 0, where `begins` is 1, or with what is in memory. */
export function beginSums(k: Block, sums: Sums, begins: Index): void {
  const clear = () => sums.tiles.forEach(({ tile }) => k.tile(tile, { op: "zero" }));
  if (begins.kind === "const") {
    if (begins.value === 1) clear();
    else moveSums(k, "load", sums);
    return;
  }
  k.if(equal(begins, i32(0)), () => moveSums(k, "load", sums), clear);
}

export const storeSums = (k: Block, sums: Sums): void => moveSums(k, "store", sums);

/** Two packed panels, from some step on. */
export interface PackedPanels {
  readonly left: Pointer;
  readonly right: Pointer;
  readonly steps: Index;
}

/** Units of another panel, to be packed with every step: where those of the first step are. */
export interface PackedMeanwhile {
  readonly factor: Factor;
  readonly from: Pointer;
  readonly to: Pointer;
  readonly units: number;
}

/**
 * Adds the products of two panels to their sums. Tiles are multiplied by a unit of the processor that
 * nothing else needs, so that what is packed meanwhile costs next to nothing.
 */
export function addProducts(
  k: Block,
  { tiles }: Sums,
  { left, right, steps }: PackedPanels,
  meanwhile?: PackedMeanwhile,
): void {
  const [a, b] = [variable(k, left), variable(k, right)];
  const moves: [Pointer, number][] = [[a, STEP_BYTES], [b, STEP_BYTES]];
  const rows = [...new Set(tiles.map(({ row }) => row))];
  const columns = [...new Set(tiles.map(({ column }) => column))];
  const packing = meanwhile &&
    { ...meanwhile, from: variable(k, meanwhile.from), to: variable(k, meanwhile.to) };
  if (packing !== undefined) {
    moves.push([packing.from, STEP * packing.factor.along * F32], [packing.to, STEP_BYTES]);
  }
  k.for(0, steps, 1, () => {
    let held: readonly [number, number] = [-1, -1];
    for (const [i, j] of PRODUCTS) {
      const take = (tile: number, at: Pointer, part: number, which: number) =>
        k.tile(tile, {
          ...{ op: "load", at, offset: tileOffset(part, which), stride: TILES.rowBytes },
        });
      if (held[0] !== i) rows.forEach((row) => take(LEFT[row], a, i, row));
      if (held[1] !== j) columns.forEach((column) => take(RIGHT[column], b, j, column));
      held = [i, j];
      for (const { tile, row, column } of tiles) {
        k.tile(tile, { op: "product", left: LEFT[row], right: RIGHT[column] });
      }
    }
    if (packing !== undefined) {
      const { factor, from, to, units } = packing;
      for (let unit = 0; unit < units; unit++) {
        const [source, target] = [unitSource(factor, from, i32(unit)), unitTarget(to, i32(unit))];
        packUnit(k, factor, source, target);
      }
    }
    advance(k, moves);
  });
}
