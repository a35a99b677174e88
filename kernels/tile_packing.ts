/**
 * Packing of matrices for products by tiles of bf16 (tile_layout.ts). Every f32 is cut into three
 * bf16 that add up to it: what is nearest, what is nearest to the rest, and what is left, which fits.
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
import {
  type F32Factor,
  type Factor,
  layoutOf,
  PANEL,
  panelDistance,
  type Source,
  sourceOf,
  SQUARE_BYTES,
  STEP,
  stepDistance,
  tileOffset,
  tilePieces,
} from "./tile_layout.ts";
import { packStoredPart, packStoredUnit, storedUnitSource } from "./tile_weights.ts";
import { at, F32, type Index, type Pointer, prefetchRange, transpose, type V } from "./vectors.ts";

/** Distances from row to row of a tile, and from lane to lane. */
const distances = ({ side, major, along }: F32Factor) =>
  side === "left" ? { row: major, lane: along } : { row: along, lane: major };

/** Where a unit of a step lies: units are rows of the first tile, then of the second. */
export function unitSource(factor: Factor, from: Source, unit: Index): Source {
  if (factor.dtype !== "f32") return storedUnitSource(factor, from, unit);
  const { side, major, along } = factor;
  const { unitRows, units } = layoutOf(factor);
  const moved = (bytes: Index): Source => {
    const values = offset(from.values, bytes);
    return { values, scales: values };
  };
  if (side === "left") return moved(mul(unit, i32(unitRows * major * F32)));
  const ofTile = units / 2;
  const rows = mul(rem(unit, i32(ofTile)), i32(unitRows * along * F32));
  const columns = mul(div(unit, i32(ofTile)), i32(TILES.rows * major * F32));
  return moved(add(rows, columns));
}

/** Where a unit is packed to in a step. */
export function unitTarget(factor: Factor, to: Pointer, unit: Index): Pointer {
  const { tileBytes, units } = layoutOf(factor);
  return at(to, unit, 2 * tileBytes / units);
}

/** Packs a unit: some rows of a tile, of all parts. */
export function packUnit(k: Block, factor: Factor, from: Source, to: Pointer): void {
  if (factor.dtype !== "f32") return packStoredUnit(k, factor, from, to);
  const layout = layoutOf(factor);
  const pairs = TILES.rows * factor.along * F32;
  const [first, second] = [0, pairs].map((bytes) =>
    unitRows(k, factor, layout.unitRows, offset(from.values, bytes))
  );
  first.forEach((row, r) => {
    const [a, b] = [row, second[r]].map((numbers) => parts(k, numbers));
    for (let part = 0; part < layout.parts; part++) {
      k.store(bf16Pairs(a[part], b[part]), to, tileOffset(layout, part, 0) + r * TILES.rowBytes);
    }
  });
}

/** Asks for the numbers of a step of some tiles of the panel behind that which begins at `from`. */
export function prefetchTiles(k: Block, factor: Factor, from: Pointer, tiles: number): void {
  const { pieces, distance, bytes } = tilePieces(factor);
  const panel = panelDistance(factor);
  for (let piece = 0; piece < tiles * pieces; piece++) {
    prefetchRange(k, from, panel + piece * distance, bytes);
  }
}

/** Four rows of 16 numbers; where rows lie side by side, they are columns in memory. */
function unitRows(k: Block, factor: F32Factor, count: number, from: Pointer): V[] {
  const { row, lane } = distances(factor);
  const rows = Array.from({ length: count }, (_, r) => r);
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
export const panelSource = ({ factor, base, first, place }: Panel): Source =>
  sourceOf(factor, base, first, place);

/** Packs whole steps of a panel, one after another. */
export function packSteps(k: Block, panel: Panel, to: Pointer, steps: Index): void {
  const { factor, majors } = panel;
  const source = panelSource(panel);
  const [values, scales] = [k.let(source.values), k.let(source.scales)];
  const distance = stepDistance(factor);
  const { stepBytes } = layoutOf(factor);
  k.for(0, steps, 1, (step) => {
    const target = k.let(at(to, step, stepBytes));
    if (majors % TILES.rows !== 0) return packPart(k, panel, target, step, STEP);
    const from = k.let(at(values, step, distance.values));
    const scale = factor.dtype === "f32" ? from : k.let(at(scales, step, distance.scales));
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
    return packStoredPart(k, factor, { ...panel, place, places }, to);
  }
  // Places behind the end are multiplied as well, rows and columns there come to nothing.
  if (places < STEP) k.zero(square, SQUARE_BYTES);
  copyPart(k, factor, k.let(panelSource({ ...panel, place }).values), panel, places);
  const copied: Factor = factor.side === "left"
    ? { dtype: "f32", side: "left", major: STEP, along: 1 }
    : { dtype: "f32", side: "right", major: 1, along: PANEL };
  packSquare(k, copied, { values: square, scales: square }, to, majors);
}

function packSquare(
  k: Block,
  factor: Factor,
  from: Source,
  to: Pointer,
  majors: number,
): void {
  const units = Math.ceil(majors / TILES.rows) * layoutOf(factor).units / 2;
  k.for(0, units, 1, (unit) => {
    const { values, scales } = unitSource(factor, from, unit);
    const source = { values: k.let(values), scales: k.let(scales) };
    packUnit(k, factor, source, k.let(unitTarget(factor, to, unit)));
  });
}

/** Copies what there is of a step to a square, whose rows are those of tiles. */
function copyPart(
  k: Block,
  factor: F32Factor,
  from: Pointer,
  { square, majors }: Panel,
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
