/**
 * Packing of f32 matrices for products by tiles of bf16 (TILES in language.ts). Every number is cut
 * into three bf16 that add up to it: what is nearest, what is nearest to the rest, and what is left,
 * which fits. The pairs of a tile are of places 16 apart, so that a vector of one and a vector of the
 * other make one row of a tile.
 */

import type { Block } from "./block.ts";
import {
  add,
  bf16Pairs,
  div,
  i32,
  joinQuads,
  load,
  mul,
  nearestBf16,
  offset,
  rem,
  sub,
} from "./language.ts";
import { TILES } from "./syntax.ts";
import { at, F32, type Index, type Pointer, transpose, type V } from "./vectors.ts";

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

/** Rows of a tile that are packed at a time, and how many such units a step of a panel has. */
const UNIT_ROWS = 4;
export const UNITS = 2 * TILES.rows / UNIT_ROWS;
/** Bytes of a part of a unit. */
const UNIT_BYTES = UNIT_ROWS * TILES.rowBytes;

/** Distances from row to row of a tile, and from lane to lane. */
const distances = ({ side, major, along }: Factor) =>
  side === "left" ? { row: major, lane: along } : { row: along, lane: major };

/** Where a unit of the step at `from` lies: units are rows of the first tile, then of the second. */
export function unitSource(factor: Factor, from: Pointer, unit: Index): Pointer {
  const { side, major, along } = factor;
  if (side === "left") return at(from, unit, UNIT_ROWS * major * F32);
  const ofTile = UNITS / 2;
  const rows = mul(rem(unit, i32(ofTile)), i32(UNIT_ROWS * along * F32));
  const columns = mul(div(unit, i32(ofTile)), i32(TILES.rows * major * F32));
  return offset(from, add(rows, columns));
}

/** Where a unit is packed to in a step. */
export const unitTarget = (to: Pointer, unit: Index): Pointer => at(to, unit, UNIT_BYTES);

/** Packs a unit: four rows of a tile, of all parts. */
export function packUnit(k: Block, factor: Factor, from: Pointer, to: Pointer): void {
  const pairs = TILES.rows * factor.along * F32;
  const [first, second] = [0, pairs].map((bytes) => unitRows(k, factor, offset(from, bytes)));
  first.forEach((row, r) => {
    const [a, b] = [row, second[r]].map((numbers) => parts(k, numbers));
    for (let part = 0; part < PARTS; part++) {
      k.store(bf16Pairs(a[part], b[part]), to, part * PART_BYTES + r * TILES.rowBytes);
    }
  });
}

/** Four rows of 16 numbers; where rows lie side by side, they are columns in memory. */
function unitRows(k: Block, factor: Factor, from: Pointer): V[] {
  const { row, lane } = distances(factor);
  const rows = Array.from({ length: UNIT_ROWS }, (_, r) => r);
  if (lane === 1) return rows.map((r) => load(k.vector, from, r * row * F32));
  const mixed = rows.map((r) => {
    const places = [0, 4, 8, 12].map((first) => (first + r) * lane * F32);
    return k.let(joinQuads(places.map((bytes) => load("f32x4", from, bytes))));
  });
  return transpose(k, mixed);
}

/** Three bf16 that add up to a number; for a NaN or an infinity one of them at least is a NaN. */
function parts(k: Block, value: V): readonly [V, V, V] {
  const whole = k.let(value);
  const high = k.let(nearestBf16(whole));
  const rest = k.let(sub(whole, high));
  const middle = k.let(nearestBf16(rest));
  return [high, middle, k.let(sub(rest, middle))];
}

/** A panel of a factor: its first row or column at some place of k, and how many it has. */
export interface Panel {
  readonly from: Pointer;
  readonly majors: number;
  /** Room for a square of numbers. */
  readonly square: Pointer;
}

/** Packs whole steps of a panel, one after another. */
export function packSteps(
  k: Block,
  factor: Factor,
  { from, majors, square }: Panel,
  to: Pointer,
  steps: Index,
): void {
  k.for(0, steps, 1, (step) => {
    const target = k.let(at(to, step, STEP_BYTES));
    const source = k.let(at(from, step, STEP * F32 * factor.along));
    if (majors % TILES.rows === 0) packSquare(k, factor, source, target, majors);
    else packPart(k, factor, { from: source, majors, square }, target, STEP);
  });
}

/** Packs a step of a panel of which there are not all rows or columns, or not all places of k. */
export function packPart(
  k: Block,
  factor: Factor,
  panel: Panel,
  to: Pointer,
  places: number,
): void {
  // Places behind the end are multiplied as well, rows and columns there come to nothing.
  if (places < STEP) k.zero(panel.square, SQUARE_BYTES);
  copyPart(k, factor, panel, places);
  const square: Factor = factor.side === "left"
    ? { side: "left", major: STEP, along: 1 }
    : { side: "right", major: 1, along: PANEL };
  packSquare(k, square, panel.square, to, panel.majors);
}

function packSquare(
  k: Block,
  factor: Factor,
  from: Pointer,
  to: Pointer,
  majors: number,
): void {
  const units = Math.ceil(majors / TILES.rows) * UNITS / 2;
  k.for(0, units, 1, (unit) => {
    packUnit(k, factor, k.let(unitSource(factor, from, unit)), k.let(unitTarget(to, unit)));
  });
}

/** Copies what there is of a step to a square, whose rows are those of tiles. */
function copyPart(
  k: Block,
  factor: Factor,
  { from, square, majors }: Panel,
  places: number,
): void {
  const { row, lane } = distances(factor);
  const [rows, lanes] = factor.side === "left" ? [majors, places] : [places, majors];
  const squareRow = PANEL * F32;
  k.for(0, rows, 1, (r) => {
    const [source, target] = [k.let(at(from, r, row * F32)), k.let(at(square, r, squareRow))];
    if (lane === 1) return copyRow(k, source, target, lanes);
    k.for(0, lanes, 1, (l) => k.store(load("f32", at(source, l, lane * F32)), at(target, l, F32)));
  });
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
