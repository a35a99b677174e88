/**
 * Packing of stored weights for products by tiles of bf16. A bf16 is one part, and so are the whole
 * numbers of q8_0 and q4_0, which have 8 bits at most: their scales go with the tiles, as f32. As the
 * left factor rows of bf16 are rows of tiles, and those of blocks become so one by one; as the right
 * factor both are turned.
 */

import { isBlocked, WEIGHT_BLOCK } from "../../../graph/tensor.ts";
import type { Block } from "../../language/block.ts";
import {
  add,
  bf16Pairs,
  div,
  i32,
  joinQuads,
  load,
  loadF16,
  lowQuants,
  mul,
  offset,
  rem,
  shiftLanes,
  wholeToF32,
} from "../../language/language.ts";
import { TILES } from "../../language/syntax.ts";
import {
  layoutOf,
  type Numbers,
  SCALES_OFFSET,
  SQUARE_BYTES,
  STEP,
  type StoredFactor,
} from "./layout.ts";
import {
  at,
  F32,
  FOUR,
  type Index,
  type Pointer,
  transpose,
  type V,
} from "../../language/vectors.ts";
import { quants, SCALE, weightRow } from "../../weights/rows.ts";
import { TILE_ROWS, weightRowBytes } from "../../weights/weights.ts";

/** Rows of 32 bits in a tile: four of them have the columns of a vector of lanes. */
const QUADS = [0, 1, 2, 3] as const;
/** Bits of a number's half of a pair, and of a byte. */
const [HALF, BYTE] = [16, 8];

/** How rows of weights lie: bytes from one to the next, and from four to the next four. */
interface RowLayout {
  readonly row: number;
  readonly quad: number;
  /** Bytes from the scales of four rows to those of the next four. */
  readonly scales: number;
}

function rowLayout({ dtype, columns }: StoredFactor): RowLayout {
  const row = weightRowBytes(dtype, columns);
  if (!isBlocked(dtype)) return { row, quad: TILE_ROWS * row, scales: 0 };
  return {
    row: weightRowBytes(dtype, WEIGHT_BLOCK),
    quad: TILE_ROWS * row,
    scales: TILE_ROWS * columns / WEIGHT_BLOCK * SCALE,
  };
}

/** Rows that were copied one after another. */
function squareLayout({ dtype }: StoredFactor): RowLayout {
  const row = weightRowBytes(dtype, STEP);
  return { row, quad: TILE_ROWS * row, scales: 0 };
}

/** Where a unit of a step begins: units are those of the first tile, then of the second. */
export function storedUnitSource(
  factor: StoredFactor,
  { values, scales }: Numbers,
  unit: Index,
): Numbers {
  const { quad, scales: scaleQuad } = rowLayout(factor);
  if (factor.side === "left") {
    return { values: at(values, unit, quad), scales: at(scales, unit, scaleQuad) };
  }
  const ofTile = layoutOf(factor).units / 2;
  const [tile, inTile] = [div(unit, i32(ofTile)), rem(unit, i32(ofTile))];
  const quads = TILES.rows / TILE_ROWS;
  const start = offset(values, add(mul(tile, i32(quads * quad)), mul(inTile, i32(FOUR))));
  return { values: start, scales: at(scales, tile, quads * scaleQuad) };
}

/** Packs a unit of the left factor: four rows of blocks, with their scales. */
export function packRows(
  k: Block,
  factor: StoredFactor,
  { values, scales }: Numbers,
  to: Numbers,
): void {
  for (let row = 0; row < TILE_ROWS; row++) {
    packRow(k, factor, offset(values, row * rowLayout(factor).row), to.values, row);
  }
  k.store(loadF16("f32x4", scales), to.scales);
}

/** A row's block, of places 16 apart; it lies so in q4_0. */
function packRow(k: Block, { dtype }: StoredFactor, from: Pointer, to: Pointer, row: number): void {
  if (!isBlocked(dtype)) throw new Error("tiles: rows of bf16 need no packing");
  const [first, second] = quants(k, dtype, from);
  k.store(bf16Pairs(first, second), to, row * TILES.rowBytes);
}

/** Packs a unit of the right factor, with its scales. */
export function packColumns(
  k: Block,
  factor: StoredFactor,
  { values, scales }: Numbers,
  to: Numbers,
): void {
  const layout = rowLayout(factor);
  packNumbers(k, factor, layout, values, to.values);
  if (!layoutOf(factor).scaled) return;
  const quads = QUADS.map((q) => loadF16("f32x4", scales, q * layout.scales));
  k.store(joinQuads(quads), to.scales);
}

/** 16 bytes of 16 rows as four vectors: a vector has the same four bytes of all rows. */
function turned(k: Block, { row, quad }: RowLayout, from: Pointer, bytes: number): V[] {
  const mixed = QUADS.map((r) =>
    k.let(joinQuads(QUADS.map((q) => load("f32x4", from, q * quad + r * row + bytes))))
  );
  return transpose(k, mixed).map((each) => k.let(each));
}

function packNumbers(
  k: Block,
  { dtype }: StoredFactor,
  layout: RowLayout,
  from: Pointer,
  to: Pointer,
): void {
  const store = (row: number, first: V, second: V) =>
    k.store(bf16Pairs(first, second), to, row * TILES.rowBytes);
  const bytesOf = (words: V, byte: number) =>
    k.let(wholeToF32(shiftLanes(shiftLanes(words, "left", 24 - byte * BYTE), "right", 24)));
  switch (dtype) {
    case "bf16": {
      const [first, second] = [0, STEP].map((bytes) => turned(k, layout, from, bytes));
      const upper = (words: V) => shiftLanes(words, "left", HALF);
      first.forEach((words, i) => {
        store(2 * i, upper(words), upper(second[i]));
        store(2 * i + 1, words, upper(shiftLanes(second[i], "right", HALF)));
      });
      return;
    }
    case "q8_0": {
      const [first, second] = [0, WEIGHT_BLOCK / 2].map((bytes) => turned(k, layout, from, bytes));
      first.forEach((words, i) =>
        QUADS.forEach((byte) => store(4 * i + byte, bytesOf(words, byte), bytesOf(second[i], byte)))
      );
      return;
    }
    case "q4_0":
      // A byte has the numbers of both places of a pair.
      turned(k, layout, from, 0).forEach((words, i) =>
        QUADS.forEach((byte) => {
          const [low, high] = [0, 4].map((bits) =>
            k.let(lowQuants(shiftLanes(words, "right", byte * BYTE + bits)))
          );
          store(4 * i + byte, low, high);
        })
      );
      return;
    default:
      dtype satisfies never;
  }
}

/** Rows of weights of a panel that has not all of them, or not all places of k in a step. */
export interface StoredPart {
  readonly base: Pointer;
  /** The panel's first row, and how many it has. */
  readonly first: Index;
  readonly majors: number;
  /** The first place of k, and how many there are up to the step's end. */
  readonly place: Index;
  readonly places: number;
  readonly square: Pointer;
}

/** Where the numbers of each row begin; the scales go to a packed step. */
function partRows(
  k: Block,
  factor: StoredFactor,
  { base, first, majors, place }: StoredPart,
  to: Pointer,
): Pointer[] {
  const { dtype } = factor;
  const block = k.let(div(place, i32(WEIGHT_BLOCK)));
  return Array.from({ length: majors }, (_, r) => {
    const row = weightRow(factor, base, first, r, majors);
    if (!isBlocked(dtype)) return at(row.values, place, weightRowBytes(dtype, 1));
    const scale = loadF16("f32", at(row.scales, block, row.scaleStep));
    k.store(scale, to, SCALES_OFFSET + r * F32);
    return at(row.values, block, row.valueStep);
  });
}

/** Packs a step of some rows of the left factor. */
export function packPartOfRows(
  k: Block,
  factor: StoredFactor,
  part: StoredPart,
  to: Pointer,
): void {
  const { dtype } = factor;
  const { places } = part;
  // Places behind the end are multiplied as well.
  if (places < STEP) k.zero(to, SCALES_OFFSET);
  partRows(k, factor, part, to).forEach((from, row) => {
    if (isBlocked(dtype)) packRow(k, factor, k.let(from), to, row);
    else k.copy(from, offset(to, row * TILES.rowBytes), weightRowBytes(dtype, places));
  });
}

/** Packs a step of some columns of the right factor, which are rows of weights. */
export function packPartOfColumns(
  k: Block,
  factor: StoredFactor,
  part: StoredPart,
  to: Pointer,
): void {
  const { dtype } = factor;
  const { places, majors, square } = part;
  const copies = squareLayout(factor);
  // Places behind the end are multiplied as well, columns there come to nothing.
  if (places < STEP) k.zero(square, SQUARE_BYTES);
  partRows(k, factor, part, to).forEach((from, column) =>
    k.copy(from, offset(square, column * copies.row), weightRowBytes(dtype, places))
  );
  const { units, unitRows } = layoutOf(factor);
  for (let unit = 0; unit < units * Math.ceil(majors / TILES.rows) / 2; unit++) {
    const ofTile = units / 2;
    const from = Math.floor(unit / ofTile) * copies.row * TILES.rows + unit % ofTile * FOUR;
    const target = offset(to, unit * unitRows * TILES.rowBytes);
    packNumbers(k, factor, copies, k.let(offset(square, from)), k.let(target));
  }
}
