/**
 * How factors of products lie in memory, and how they are packed for tiles of bf16 (TILES in
 * kernels/language/syntax.ts). The pairs of a tile are of places 16 apart, so that a vector of one
 * and a vector of the other make one row of a tile; where tiles are filled from memory, they are of
 * neighbours.
 */

import { isBlocked, WEIGHT_BLOCK } from "../../../graph/tensor.ts";
import type { MatmulShape } from "../../kernel.ts";
import { div, i32, mul } from "../../language/language.ts";
import { TILES } from "../../language/syntax.ts";
import { at, F32, type Index, type Pointer } from "../../language/vectors.ts";
import { SCALE, type WeightMatrix, weightTile } from "../../weights/rows.ts";
import { TILE_ROWS, weightRowBytes } from "../../weights/weights.ts";

/** Rows of the left factor, or columns of the right one, of a panel: two tiles of them. */
export const PANEL = 2 * TILES.rows;
/** Places of k that are multiplied at a time: those of a block of weights. */
export const STEP = 2 * TILES.rows;
export const TILE_BYTES = TILES.rows * TILES.rowBytes;
/** Bytes of a panel's square of one step as f32. */
export const SQUARE_BYTES = PANEL * STEP * F32;

/** A matrix of f32 as a panel sees it; distances are in elements. */
export interface F32Factor {
  readonly dtype: "f32";
  /** The left factor has its rows in tiles as rows, the right one its columns as lanes. */
  readonly side: "left" | "right";
  /** From one row of the left factor, or one column of the right one, to the next. */
  readonly major: number;
  /** From one place of k to the next. */
  readonly along: number;
  /** Whether pairs are of neighbours: the other factor is bf16 in memory, which has such pairs. */
  readonly adjacent: boolean;
}

/** Stored weights; as the right factor their rows are its columns. */
export interface StoredFactor extends WeightMatrix {
  readonly side: "left" | "right";
}

/** A factor of a product. */
export type Factor = F32Factor | StoredFactor;

/** The most rows of a product that is turned: weights pass by, and these are packed first. */
const TURNED_ROWS = 64;

/**
 * A product as tiles see it, left [m, k] and right [k, n]. Of few rows it is turned: its right factor
 * is the left one and the result is transposed, for rows of weights fill tiles as they lie in memory.
 */
export interface TileProduct {
  readonly turned: boolean;
  readonly batch: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly left: Factor;
  readonly right: Factor;
}

/** How tiles see a product. */
export function tileProductOf({ batch, m, n, k, a, b, weight }: MatmulShape): TileProduct {
  const turned = m <= TURNED_ROWS;
  const [side, other] = turned ? ["right", "left"] as const : ["left", "right"] as const;
  const adjacent = turned && weight === "bf16";
  const f32 = { dtype: "f32", adjacent } as const;
  const first: Factor = { ...f32, side, major: a.mStride, along: a.kStride };
  const second: Factor = weight === undefined
    ? { ...f32, side: other, major: b.nStride, along: b.kStride }
    : { dtype: weight, side: other, rows: n, columns: k };
  return turned
    ? { turned, batch, m: n, n: m, k, left: second, right: first }
    : { turned, batch, m, n, k, left: first, right: second };
}

/** Whether panels of a factor are tiles as they lie in memory. */
export const liesInTiles = ({ dtype, side }: Factor): boolean =>
  dtype === "bf16" && side === "left";

/** Whether a factor can be packed: rows or columns of it must lie in one piece. */
export const isPackable = (factor: Factor): boolean =>
  factor.dtype !== "f32" || factor.major === 1 || factor.along === 1;

/** How a step of a panel is packed: [part, tile, row, pair], and the scales of rows or lanes. */
export interface StepLayout {
  /** The bf16 that a number is: high, middle and low, or itself; whole numbers without their scale. */
  readonly parts: number;
  readonly scaled: boolean;
  readonly stepBytes: number;
  /** Rows of a tile that are packed at a time, and how many such units there are, of all tiles. */
  readonly unitRows: number;
  readonly units: number;
}

const layout = (parts: number, unitRows: number, scaled: boolean): StepLayout => ({
  ...{ parts, scaled, unitRows, units: 2 * TILES.rows / unitRows },
  stepBytes: 2 * parts * TILE_BYTES + (scaled ? PANEL * F32 : 0),
});

/** How steps of a factor are packed. */
export function layoutOf({ dtype, side }: Factor): StepLayout {
  if (dtype === "f32") return layout(3, 4, false);
  if (!isBlocked(dtype)) return layout(1, 8, false);
  return layout(1, side === "left" ? 4 : 16, true);
}

/** Where a tile of a step lies, and where scales do: behind the tiles of what has one part. */
export const tileOffset = (part: number, tile: number): number => (2 * part + tile) * TILE_BYTES;
export const SCALES_OFFSET = 2 * TILE_BYTES;

/** Numbers in memory, and their scales where they are in blocks: else the numbers again. */
export interface Numbers {
  readonly values: Pointer;
  readonly scales: Pointer;
}

/** Bytes from a place of k to that a step further: of numbers, and of scales. */
export function stepDistance(factor: Factor): { values: number; scales: number } {
  const { dtype } = factor;
  if (dtype === "f32") return { values: STEP * factor.along * F32, scales: 0 };
  if (!isBlocked(dtype)) return { values: weightRowBytes(dtype, STEP), scales: 0 };
  return { values: TILE_ROWS * weightRowBytes(dtype, STEP), scales: TILE_ROWS * SCALE };
}

/** Bytes from a row of the left factor, or a column of the right one, to that a panel further. */
export const panelDistance = (factor: Factor): number =>
  PANEL * (factor.dtype === "f32" ? factor.major * F32 : rowBytesOf(factor));

const rowBytesOf = ({ dtype, columns }: StoredFactor) => weightRowBytes(dtype, columns);

/** The pieces of memory of a tile of a step, where k runs along memory. */
export function tilePieces(
  factor: Factor,
): { pieces: number; distance: number; bytes: number } {
  if (factor.dtype === "f32") {
    return { pieces: TILES.rows, distance: factor.major * F32, bytes: STEP * F32 };
  }
  const { dtype } = factor;
  const [row, bytes] = [rowBytesOf(factor), weightRowBytes(dtype, STEP)];
  return isBlocked(dtype)
    ? { pieces: TILES.rows / TILE_ROWS, distance: TILE_ROWS * row, bytes: TILE_ROWS * bytes }
    : { pieces: TILES.rows, distance: row, bytes };
}

/** Where numbers of a factor begin: at a row or column that begins a panel, and a place of k. */
export function sourceOf(factor: Factor, base: Pointer, major: Index, place: Index): Numbers {
  if (factor.dtype === "f32") {
    const values = at(at(base, major, factor.major * F32), place, factor.along * F32);
    return { values, scales: values };
  }
  const { dtype, columns } = factor;
  if (!isBlocked(dtype)) {
    const values = at(at(base, major, weightRowBytes(dtype, columns)), place, 2);
    return { values, scales: values };
  }
  const tile = weightTile(factor, base, major);
  const { values, scales } = stepDistance(factor);
  const block = div(place, i32(WEIGHT_BLOCK));
  return {
    values: at(tile.values, mul(block, i32(values)), 1),
    scales: at(tile.scales, mul(block, i32(scales)), 1),
  };
}
