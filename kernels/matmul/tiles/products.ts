/** Products of two panels (packing.ts), added up in tiles. */

import type { Block } from "../../language/block.ts";
import { equal, fma, i32, load, offset, splat } from "../../language/language.ts";
import { TILES } from "../../language/syntax.ts";
import {
  type Factor,
  layoutOf,
  type Numbers,
  SCALES_OFFSET,
  stepDistance,
  tileOffset,
  tilePieces,
} from "./layout.ts";
import { packUnit, prefetchTiles, unitSource, unitTarget } from "./packing.ts";
import { advance, at, F32, type Index, type Pointer, variable } from "../../language/vectors.ts";

/**
 * The parts of both factors that are multiplied, 0 the highest: small products first, and one factor
 * of each as in the one before where that is possible. What has one part only comes to the same sums
 * as if it had others that are 0.
 */
const PRODUCTS = [[2, 0], [1, 0], [0, 0], [0, 2], [0, 1], [1, 1]] as const;

/** Tiles that hold the parts of two panels that are multiplied; those before hold sums. */
const LEFT = [4, 5];
const RIGHT = [6, 7];

/** Rows of sums that are scaled at a time. */
const ROWS_AT_ONCE = 4;

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

/** Two panels, from some step on. */
export interface Panels {
  readonly left: Pointer;
  readonly leftFactor: Factor;
  /** Whether the left one is packed; else it is in memory as tiles need it (`liesInTiles`). */
  readonly packed: boolean;
  readonly right: Pointer;
  readonly rightFactor: Factor;
  readonly steps: Index;
}

/** Units of another panel, to be packed with every step: where those of the first step are. */
export interface PackedMeanwhile {
  readonly factor: Factor;
  readonly from: Numbers;
  readonly to: Numbers;
  readonly units: number;
  /** Whether to ask for the numbers of the panel after that one; then units are of whole tiles. */
  readonly readsAhead: boolean;
}

/** What moves through the steps of panels. */
interface Walk {
  readonly left: Pointer;
  readonly right: Pointer;
  /** Parts of both that are multiplied. */
  readonly products: readonly (readonly [number, number])[];
  /** Bytes from row to row of the left factor's tiles, and where those of a part begin. */
  readonly rowBytes: number;
  readonly tile: (part: number, tile: number) => number;
  /** What is done between the products of a step. */
  readonly pack: readonly (() => void)[];
  readonly advance: () => void;
}

function walk(k: Block, panels: Panels, meanwhile?: PackedMeanwhile): Walk {
  const [left, right] = [variable(k, panels.left), variable(k, panels.right)];
  const [leftLayout, rightLayout] = [layoutOf(panels.leftFactor), layoutOf(panels.rightFactor)];
  const pieces = tilePieces(panels.leftFactor);
  const step = panels.packed ? leftLayout.stepBytes : stepDistance(panels.leftFactor).values;
  const moves: [Pointer, number][] = [[left, step], [right, rightLayout.stepBytes]];
  const pack: (() => void)[] = [];
  if (!panels.packed) pack.push(() => prefetchTiles(k, panels.leftFactor, left, 2));
  if (meanwhile !== undefined) {
    const { factor, units, readsAhead } = meanwhile;
    const layout = layoutOf(factor);
    const distance = stepDistance(factor);
    const numbers = ({ values, scales }: Numbers): Numbers => {
      const moved = variable(k, values);
      return { values: moved, scales: layout.scaled ? variable(k, scales) : moved };
    };
    const [from, to] = [numbers(meanwhile.from), numbers(meanwhile.to)];
    moves.push([from.values, distance.values], [to.values, layout.stepBytes]);
    if (layout.scaled) {
      moves.push([from.scales, distance.scales], [to.scales, layout.stepBytes]);
    }
    if (readsAhead) {
      pack.push(() => prefetchTiles(k, factor, from.values, 2 * units / layout.units));
    }
    for (let unit = 0; unit < units; unit++) {
      pack.push(() => {
        const [source, target] = [unitSource, unitTarget].map((placeOf, i) =>
          placeOf(factor, [from, to][i], i32(unit))
        );
        packUnit(k, factor, source, target);
      });
    }
  }
  const turned = leftLayout.parts < rightLayout.parts;
  return {
    left,
    right,
    products: PRODUCTS.map(([i, j]) => turned ? [j, i] as const : [i, j] as const)
      .filter(([i, j]) => i < leftLayout.parts && j < rightLayout.parts),
    rowBytes: panels.packed ? TILES.rowBytes : pieces.distance,
    tile: panels.packed ? tileOffset : (_, tile) => tile * pieces.pieces * pieces.distance,
    pack,
    advance: () => advance(k, moves),
  };
}

/** One of so many parts of a list, as even as can be. */
function partOf<T>(list: readonly T[], part: number, parts: number): readonly T[] {
  const [from, to] = [part, part + 1].map((n) => Math.floor(n * list.length / parts));
  return list.slice(from, to);
}

/**
 * The products of one step, with other work spread among them: a processor looks ahead no further
 * than some products.
 */
function multiplyStep(
  k: Block,
  { tiles }: Pick<Sums, "tiles">,
  { left, right, products, rowBytes, tile: leftTile }: Walk,
  meanwhile: readonly (() => void)[],
): void {
  const count = products.length * tiles.length;
  let done = 0;
  const share = () => partOf(meanwhile, done++, count).forEach((work) => work());
  const rows = [...new Set(tiles.map(({ row }) => row))];
  const columns = [...new Set(tiles.map(({ column }) => column))];
  let held: readonly [number, number] = [-1, -1];
  for (const [i, j] of products) {
    const take = (tile: number, at: Pointer, offset: number, stride: number) =>
      k.tile(tile, { op: "load", at, offset, stride });
    if (held[0] !== i) rows.forEach((row) => take(LEFT[row], left, leftTile(i, row), rowBytes));
    if (held[1] !== j) {
      columns.forEach((column) =>
        take(RIGHT[column], right, tileOffset(j, column), TILES.rowBytes)
      );
    }
    held = [i, j];
    for (const { tile, row, column } of tiles) {
      k.tile(tile, { op: "product", left: LEFT[row], right: RIGHT[column] });
      share();
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
  panels: Panels,
  meanwhile?: PackedMeanwhile,
): void {
  const state = walk(k, panels, meanwhile);
  k.for(0, panels.steps, 1, () => {
    multiplyStep(k, sums, state, state.pack);
    state.advance();
  });
}

/**
 * As `addProducts`, where steps of a panel are blocks with scales: a step's sums go to memory at
 * `fresh`, and while the next ones are computed they are added to the sums in memory, times the
 * scales.
 */
export function addScaledProducts(
  k: Block,
  sums: Sums,
  panels: Panels,
  fresh: Sums,
  meanwhile?: PackedMeanwhile,
): void {
  const state = walk(k, panels, meanwhile);
  const ofRows = layoutOf(panels.leftFactor).scaled;
  const scaled = ofRows ? state.left : state.right;
  const columns = [...new Set(sums.tiles.map(({ column }) => column))];
  const scales = variable(k, offset(scaled, SCALES_OFFSET));
  const addRows = (first: number, count: number) => {
    for (let row = first; row < first + count; row++) {
      const scale = ofRows ? k.let(splat(load("f32", scales, row * F32), k.vector)) : undefined;
      columns.forEach((column, c) => {
        const place = column * TILES.rowBytes;
        const to = row * sums.rowBytes + place;
        const part = load(k.vector, fresh.at, row * fresh.rowBytes + place);
        k.store(fma(part, scale ?? columnScales[c], load(k.vector, sums.at, to)), sums.at, to);
      });
    }
  };
  const columnScales = ofRows ? [] : columns.map(() => k.variable(k.vector));
  const takeScales = () =>
    columnScales.forEach((held, c) =>
      k.set(held, load(k.vector, scales, columns[c] * TILES.rowBytes))
    );
  const addFresh: (() => void)[] = [];
  for (let row = 0; row < sums.rows; row += ROWS_AT_ONCE) {
    addFresh.push(() => addRows(row, Math.min(ROWS_AT_ONCE, sums.rows - row)));
  }
  // Work of both kinds in turn.
  const meanwhileAll = addFresh.flatMap((add, i) => [
    add,
    ...partOf(state.pack, i, addFresh.length),
  ]);
  // There is nothing before the first step.
  k.zero(fresh.at, sums.rows * fresh.rowBytes);
  k.for(0, panels.steps, 1, () => {
    clear(k, fresh);
    takeScales();
    multiplyStep(k, sums, state, meanwhileAll);
    moveSums(k, "store", fresh);
    k.set(scales, offset(scaled, SCALES_OFFSET));
    state.advance();
  });
  takeScales();
  addFresh.forEach((add) => add());
}
