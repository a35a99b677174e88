/**
 * Packing of matrices for products by tiles of bf16 (layout.ts). Every f32 is cut into three
 * bf16 that add up to it: what is nearest, what is nearest to the rest, and what is left, which fits.
 */

import type { Block } from "../../language/block.ts";
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
} from "../../language/language.ts";
import { TILES } from "../../language/syntax.ts";
import {
  type F32Factor,
  type Factor,
  layoutOf,
  type Numbers,
  PANEL,
  panelDistance,
  SCALES_OFFSET,
  sourceOf,
  SQUARE_BYTES,
  STEP,
  stepDistance,
  tileOffset,
  tilePieces,
} from "./layout.ts";
import {
  packColumns,
  packPartOfColumns,
  packPartOfRows,
  packRows,
  storedUnitSource,
} from "./weights.ts";
import {
  at,
  F32,
  type Index,
  type Pointer,
  prefetchRange,
  transpose,
  type V,
} from "../../language/vectors.ts";

/** Distances from row to row of a tile, and from lane to lane. */
const distances = ({ side, major, along }: F32Factor) =>
  side === "left" ? { row: major, lane: along } : { row: along, lane: major };

/** Where a unit of a step lies: units are rows of the first tile, then of the second. */
export function unitSource(factor: Factor, from: Numbers, unit: Index): Numbers {
  if (factor.dtype !== "f32") return storedUnitSource(factor, from, unit);
  const { side, major, along } = factor;
  const { unitRows, units } = layoutOf(factor);
  const moved = (bytes: Index): Numbers => {
    const values = offset(from.values, bytes);
    return { values, scales: values };
  };
  if (side === "left") return moved(mul(unit, i32(unitRows * major * F32)));
  const ofTile = units / 2;
  const places = factor.adjacent ? 2 * unitRows : unitRows;
  const rows = mul(rem(unit, i32(ofTile)), i32(places * along * F32));
  const columns = mul(div(unit, i32(ofTile)), i32(TILES.rows * major * F32));
  return moved(add(rows, columns));
}

/** Where a unit of a step is packed to. */
export function unitTarget(factor: Factor, to: Numbers, unit: Index): Numbers {
  const { unitRows, scaled } = layoutOf(factor);
  const values = at(to.values, unit, unitRows * TILES.rowBytes);
  return { values, scales: scaled ? at(to.scales, unit, unitRows * F32) : values };
}

/** Where numbers and scales of a packed step begin. */
export const stepTarget = (to: Pointer): Numbers => ({
  values: to,
  scales: offset(to, SCALES_OFFSET),
});

/** Packs a unit: some rows of a tile, of all parts. */
export function packUnit(k: Block, factor: Factor, from: Numbers, to: Numbers): void {
  if (factor.dtype !== "f32") {
    const pack = factor.side === "left" ? packRows : packColumns;
    return pack(k, factor, from, to);
  }
  const { unitRows, parts: count } = layoutOf(factor);
  pairsOf(k, factor, unitRows, from.values).forEach(([first, second], r) => {
    const [a, b] = [first, second].map((numbers) => parts(k, numbers));
    for (let part = 0; part < count; part++) {
      k.store(bf16Pairs(a[part], b[part]), to.values, tileOffset(part, 0) + r * TILES.rowBytes);
    }
  });
}

/** The pairs of so many rows of a tile: of places 16 apart, or of neighbours. */
function pairsOf(k: Block, factor: F32Factor, count: number, from: Pointer): (readonly [V, V])[] {
  if (factor.adjacent) {
    const rows = unitRows(k, factor, 2 * count, from);
    return Array.from({ length: count }, (_, r) => [rows[2 * r], rows[2 * r + 1]]);
  }
  const second = offset(from, TILES.rows * factor.along * F32);
  const [a, b] = [from, second].map((at) => unitRows(k, factor, count, at));
  return a.map((row, r) => [row, b[r]]);
}

/** Asks for the numbers of a step of some tiles of the panel behind that which begins at `from`. */
export function prefetchTiles(k: Block, factor: Factor, from: Pointer, tiles: number): void {
  const { pieces, distance, bytes } = tilePieces(factor);
  const panel = panelDistance(factor);
  for (let piece = 0; piece < tiles * pieces; piece++) {
    prefetchRange(k, from, panel + piece * distance, bytes);
  }
}

/** Rows of 16 numbers, a multiple of four; where they lie side by side, they are columns in memory. */
function unitRows(k: Block, factor: F32Factor, count: number, from: Pointer): V[] {
  const { row, lane } = distances(factor);
  if (lane === 1) {
    return Array.from({ length: count }, (_, r) => load(k.vector, from, r * row * F32));
  }
  return Array.from({ length: count / 4 }, (_, four) => {
    const mixed = [0, 1, 2, 3].map((r) => {
      const places = [0, 4, 8, 12].map((first) => ((first + r) * lane + 4 * four * row) * F32);
      return k.let(joinQuads(places.map((bytes) => load("f32x4", from, bytes))));
    });
    return transpose(k, mixed);
  }).flat();
}

/** Three bf16 that add up to a number; for a NaN or an infinity one of them at least is a NaN. */
function parts(k: Block, value: V): readonly [V, V, V] {
  const whole = k.let(value);
  const high = k.let(nearestBf16(whole));
  const rest = k.let(sub(whole, high));
  const middle = k.let(nearestBf16(rest));
  return [high, middle, k.let(sub(rest, middle))];
}

/** Rows or columns of a factor from some place of k on, at most a panel. */
export interface Panel {
  readonly factor: Factor;
  readonly base: Pointer;
  readonly first: Index;
  readonly majors: number;
  readonly place: Index;
  /** Room for a square of numbers. */
  readonly square: Pointer;
}

/** Where a panel begins in memory. */
export const panelSource = ({ factor, base, first, place }: Panel): Numbers =>
  sourceOf(factor, base, first, place);

/** Packs whole steps of a panel, one after another. */
export function packSteps(k: Block, panel: Panel, to: Pointer, steps: Index): void {
  const { factor, majors } = panel;
  const source = panelSource(panel);
  const [values, scales] = [k.let(source.values), k.let(source.scales)];
  const distance = stepDistance(factor);
  const { stepBytes, scaled } = layoutOf(factor);
  k.for(0, steps, 1, (step) => {
    const target = k.let(at(to, step, stepBytes));
    if (majors % TILES.rows !== 0) return packPart(k, panel, target, step, STEP);
    const from = k.let(at(values, step, distance.values));
    const scale = scaled ? k.let(at(scales, step, distance.scales)) : from;
    packSquare(k, factor, { values: from, scales: scale }, target, majors);
  });
}

/** Packs a step of a panel of which there are not all rows or columns, or not all places of k. */
export function packPart(
  k: Block,
  panel: Panel,
  to: Pointer,
  step: Index,
  places: number,
): void {
  const { factor, square, majors } = panel;
  const place = k.let(add(panel.place, mul(step, i32(STEP))));
  if (factor.dtype !== "f32") {
    const pack = factor.side === "left" ? packPartOfRows : packPartOfColumns;
    return pack(k, factor, { ...panel, place, places }, to);
  }
  // Places behind the end are multiplied as well, rows and columns there come to nothing.
  if (places < STEP) k.zero(square, SQUARE_BYTES);
  const from = k.let(panelSource({ ...panel, place }).values);
  const { along, major } = factor;
  // Pieces of memory: of rows or columns, or of places of k.
  const [pieces, distance, length] = along === 1
    ? [majors, major, places]
    : [places, along, majors];
  k.for(0, pieces, 1, (i) => {
    const [source, target] = [
      k.let(at(from, i, distance * F32)),
      k.let(at(square, i, PANEL * F32)),
    ];
    copyPiece(k, source, target, length);
  });
  const copied: Factor = along === 1
    ? { ...factor, major: STEP, along: 1 }
    : { ...factor, major: 1, along: PANEL };
  packSquare(k, copied, { values: square, scales: square }, to, majors);
}

function packSquare(
  k: Block,
  factor: Factor,
  from: Numbers,
  to: Pointer,
  majors: number,
): void {
  const units = Math.ceil(majors / TILES.rows) * layoutOf(factor).units / 2;
  const held = ({ values, scales }: Numbers): Numbers => ({
    values: k.let(values),
    scales: k.let(scales),
  });
  k.for(0, units, 1, (unit) => {
    const target = unitTarget(factor, stepTarget(to), unit);
    packUnit(k, factor, held(unitSource(factor, from, unit)), held(target));
  });
}

/** Copies so many f32. */
function copyPiece(k: Block, source: Pointer, target: Pointer, count: number): void {
  let done = 0;
  for (const lanes of [16, 4] as const) {
    const { vector } = k.withLanes(lanes);
    for (; done + lanes <= count; done += lanes) {
      k.store(load(vector, source, done * F32), target, done * F32);
    }
  }
  for (; done < count; done++) k.store(load("f32", source, done * F32), target, done * F32);
}
