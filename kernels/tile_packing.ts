/**
 * Packing of f32 matrices for products by tiles of bf16 (TILES in language.ts). Every number is cut
 * into three bf16 that add up to it: what is nearest, what is nearest to the rest, and what is left,
 * which fits. The pairs of a tile are of places 16 apart, so that a vector of one and a vector of the
 * other make one row of a tile.
 */

import {
  bf16Pairs,
  type Block,
  div,
  equal,
  i32,
  joinQuads,
  load,
  nearestBf16,
  rem,
  sub,
  TILES,
} from "./language.ts";
import {
  advance,
  at,
  F32,
  type Index,
  type Pointer,
  transpose,
  type V,
  variable,
} from "./vectors.ts";

/** The bf16 that a number is cut into: high, middle, low. */
const PARTS = 3;
/** Rows of the left factor, or columns of the right one, of a panel: two tiles of them. */
export const PANEL = 2 * TILES.rows;
/** Places of k that are multiplied at a time. */
export const STEP = 2 * TILES.rows;

const TILE_BYTES = TILES.rows * TILES.rowBytes;
/** Bytes of a part, both tiles, and of a step of a panel: [part, tile, row, pair]. */
const PART_BYTES = 2 * TILE_BYTES;
export const STEP_BYTES = PARTS * PART_BYTES;
/** Bytes of a panel's square of one step as f32. */
export const SQUARE_BYTES = PANEL * STEP * F32;

/** Where a tile of a step lies. */
export const tileOffset = (part: number, tile: number): number =>
  part * PART_BYTES + tile * TILE_BYTES;

/** A factor of a product as a panel sees it; distances are in elements. */
export interface Factor {
  /** The left factor has its rows in tiles as rows, the right one its columns as lanes. */
  readonly side: "left" | "right";
  /** From one row of the left factor, or one column of the right one, to the next. */
  readonly major: number;
  /** From one place of k to the next. */
  readonly along: number;
}

/** Whether a factor can be packed: rows or columns of it must lie in one piece. */
export const isPackable = ({ major, along }: Factor): boolean => major === 1 || along === 1;

/** Whether it lies as tiles want it: places of k of the left factor, columns of the right one. */
const liesInPieces = ({ side, major, along }: Factor): boolean =>
  (side === "left" ? along : major) === 1;

/** What is packed and where to. */
export interface Panel {
  readonly to: Pointer;
  /** The first of `majors` (at most 32) rows or columns, at the first place of k. */
  readonly from: Pointer;
  readonly majors: number;
  /** Room for one square. */
  readonly square: Pointer;
}

/** Packs `count` places of k; after the last whole step, there are none or always `rest`. */
export function packTiles(
  k: Block,
  factor: Factor,
  panel: Panel,
  count: Index,
  rest: number,
): void {
  const steps = k.let(div(count, i32(STEP)));
  const target = (step: Index) => k.let(at(panel.to, step, STEP_BYTES));
  const source = (step: Index) => k.let(at(panel.from, step, STEP * F32 * factor.along));
  const tiles = Math.ceil(panel.majors / TILES.rows);
  const inPieces = liesInPieces(factor);
  k.for(0, steps, 1, (step) => {
    const whole = { to: target(step), from: source(step), tiles };
    if (inPieces && panel.majors % TILES.rows === 0) return packSquare(k, factor, whole);
    copySquare(k, factor, { ...panel, from: whole.from }, STEP);
    packSquare(k, squareOf(factor), { ...whole, from: panel.square });
  });
  if (rest === 0) return;
  k.if(equal(rem(count, i32(STEP)), i32(rest)), () => {
    // What is behind the end is multiplied as well.
    k.zero(panel.square, SQUARE_BYTES);
    copySquare(k, factor, { ...panel, from: source(steps) }, rest);
    packSquare(k, squareOf(factor), { to: target(steps), from: panel.square, tiles });
  });
}

/** A factor of which one square lies in memory of its own, in pieces as tiles want them. */
const squareOf = ({ side }: Factor): Factor =>
  side === "left" ? { side, major: STEP, along: 1 } : { side, major: 1, along: PANEL };

/** Cuts the numbers of a step, and stores their parts in pairs. */
function packSquare(
  k: Block,
  { side, major, along }: Factor,
  { to, from, tiles }: { readonly to: Pointer; readonly from: Pointer; readonly tiles: number },
): void {
  // Rows of tiles are rows of the left factor, and places of k of the right one.
  const [row, lane] = side === "left" ? [major, along] : [along, major];
  const tileStep = TILES.rows * (side === "left" ? row : lane) * F32;
  const pairStep = TILES.rows * (side === "left" ? lane : row) * F32;
  const [source, target] = [variable(k, from), variable(k, to)];
  const unrolled = 2;
  k.for(0, TILES.rows, unrolled, () => {
    for (let r = 0; r < unrolled; r++) {
      for (let tile = 0; tile < tiles; tile++) {
        const place = r * row * F32 + tile * tileStep;
        const [first, second] = [place, place + pairStep].map((bytes) =>
          parts(k, load(k.vector, source, bytes))
        );
        for (let part = 0; part < PARTS; part++) {
          const pairs = bf16Pairs(first[part], second[part]);
          k.store(pairs, target, tileOffset(part, tile) + r * TILES.rowBytes);
        }
      }
    }
    advance(k, [[source, unrolled * row * F32], [target, unrolled * TILES.rowBytes]]);
  });
}

/** Three bf16 that add up to a number; for a NaN or an infinity one of them at least is a NaN. */
function parts(k: Block, value: V): readonly [V, V, V] {
  const whole = k.let(value);
  const high = k.let(nearestBf16(whole));
  const rest = k.let(sub(whole, high));
  const middle = k.let(nearestBf16(rest));
  return [high, middle, k.let(sub(rest, middle))];
}

/** Copies a panel's numbers of one step, or its first `places`, to a square (`squareOf`). */
function copySquare(
  k: Block,
  factor: Factor,
  { from, square, majors }: Omit<Panel, "to">,
  places: number,
): void {
  const { side, major, along } = factor;
  const inPieces = liesInPieces(factor);
  // What lies in one piece is a row: of places of k, or of majors.
  const [rows, width, rowBytes] = along === 1 && (side === "left" || major !== 1)
    ? [majors, places, major * F32]
    : [places, majors, along * F32];
  const squareRow = STEP * F32;
  if (inPieces) {
    k.for(0, rows, 1, (row) => {
      const [source, target] = [k.let(at(from, row, rowBytes)), k.let(at(square, row, squareRow))];
      copyRow(k, source, target, width);
    });
    return;
  }
  // Rows become columns: by squares of 16, the rest one by one.
  const [wholeRows, wholeWidth] = [rows, width].map((size) => size - size % TILES.rows);
  k.for(0, wholeRows, TILES.rows, (row) => {
    k.for(0, wholeWidth, TILES.rows, (column) => {
      const source = k.let(at(at(from, row, rowBytes), column, F32));
      turn16(k, source, rowBytes, k.let(at(at(square, column, squareRow), row, F32)), squareRow);
    });
  });
  const single = (row: Index, column: Index) =>
    k.store(
      load("f32", at(at(from, row, rowBytes), column, F32)),
      at(at(square, column, squareRow), row, F32),
    );
  if (wholeWidth < width) {
    k.for(0, wholeRows, 1, (row) => k.for(wholeWidth, width, 1, (column) => single(row, column)));
  }
  if (wholeRows < rows) {
    k.for(wholeRows, rows, 1, (row) => k.for(0, width, 1, (column) => single(row, column)));
  }
}

/** Copies so many f32. */
function copyRow(k: Block, source: Pointer, target: Pointer, count: number): void {
  let done = 0;
  for (const lanes of [16, 4] as const) {
    const { vector } = k.withLanes(lanes);
    for (; done + lanes <= count; done += lanes) {
      k.store(load(vector, source, done * F32), target, done * F32);
    }
  }
  for (; done < count; done++) k.store(load("f32", source, done * F32), target, done * F32);
}

/** Stores a square of 16 rows and columns with them exchanged. */
function turn16(
  k: Block,
  from: Pointer,
  fromRow: number,
  to: Pointer,
  toRow: number,
): void {
  for (let column = 0; column < 16; column += 4) {
    // Of the rows i, i + 4, i + 8 and i + 12 four columns each; exchanged, four rows are one piece.
    const mixed = Array.from({ length: 4 }, (_, i) => {
      const quads = Array.from(
        { length: 4 },
        (_, quad) => load("f32x4", from, (4 * quad + i) * fromRow + column * F32),
      );
      return k.let(joinQuads(quads));
    });
    transpose(k, mixed).forEach((row, i) => k.store(row, to, (column + i) * toRow));
  }
}
