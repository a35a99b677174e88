/** How a product is cut into tiles, and its length into parts, so that a GPU is busy with it. */

import type { MatmulShape } from "../../kernel.ts";
import { LANES } from "./stretches.ts";
import { TENSOR_DEPTH, warpsOf } from "./tensor_fragments.ts";

/**
 * In which numbers a kernel multiplies matrices: f32; or rounded to TF32, on tensor cores, which only
 * CUDA's kernels can.
 */
export type ProductNumbers = "f32" | "tf32";

/** A cut of a product. */
export interface Tiling {
  readonly numbers: ProductNumbers;
  /** Rows and columns of a group's tile. */
  readonly rows: number;
  readonly columns: number;
  /** Parts of the length, each a group's, whose sums are added up afterwards. */
  readonly parts: number;
  /** Length of a part but for the last. */
  readonly partLength: number;
}

type Tile = Pick<Tiling, "numbers" | "rows" | "columns">;

/** Lines of both sides of which 16 steps twice are the 16 KiB of shared memory that WebGPU promises. */
const FEW_LINES = 128;

/** Steps of a tile's stretch: each has a barrier, and hides the time that the next takes to arrive. */
export function depthOf({ numbers, rows, columns }: Tile): number {
  if (numbers === "tf32") return TENSOR_DEPTH;
  return rows + columns <= FEW_LINES ? 16 : 8;
}

/** Multiprocessors of a large GPU: too many groups for a small one cost it little. */
const MULTIPROCESSORS = 128;
/** Groups of a multiprocessor that work side by side. */
const RESIDENT = 2;
/** Threads of a multiprocessor that are 32 wide and compute at once. */
const UNITS = 4;
/** Groups' 32 wide threads. */
const WARPS = 8;
/** Clocks of a group's begin and end, of a barrier with what it waits for, and of another kernel. */
const CLOCKS = { group: 1500, stretch: 200, kernel: 3500 };
/** Bytes that all multiprocessors read or write in a clock, from the cache that they share. */
const BYTES_PER_CLOCK = 1500;
/** Parts of a length are multiples of this, and at least so long. */
const PART = 16;
const LEAST_PART = 64;
const MOST_PARTS = 64;

/** Products that take as long as a read of shared memory; measured on an H100, by tiles. */
const READ = 3;

/**
 * Products in TF32 and bytes of shared memory of a multiprocessor in a clock: an A100's, by its data
 * sheet. An H100's `mma` does somewhat more, which was not measured here.
 */
const TENSOR_CLOCK = { products: 512, bytes: 128 };

/** Clocks of a multiprocessor for a step of a tile on tensor cores, which compute as it reads. */
function tensorClocks(rows: number, columns: number): number {
  const { down, across } = warpsOf(rows, columns)!;
  const read = down * across * (rows / down + columns / across);
  const bytes = 4 * (read + rows + columns);
  return Math.max(rows * columns / TENSOR_CLOCK.products, bytes / TENSOR_CLOCK.bytes);
}

/** Clocks of a multiprocessor for a step of a tile. */
function stepClocks({ numbers, rows, columns }: Tile): number {
  if (numbers === "tf32") return tensorClocks(rows, columns);
  const [r, c] = [rows / LANES, columns / LANES];
  const reads = (lines: number) => lines < 4 ? lines : lines / 4;
  return WARPS * (r * c + READ * (reads(r) + reads(c))) / UNITS;
}

/** Estimated clocks of a product by tiles and parts. */
function clocks(
  { batch, m, n, k }: MatmulShape,
  tiling: Tiling,
): number {
  const { rows, columns, parts, partLength } = tiling;
  const groups = batch * parts * Math.ceil(m / rows) * Math.ceil(n / columns);
  const each = Math.ceil(groups / MULTIPROCESSORS);
  const depth = depthOf(tiling);
  const stretches = Math.ceil(Math.min(partLength, k) / depth);
  const waits = Math.ceil(each / RESIDENT) * (CLOCKS.group + stretches * CLOCKS.stretch);
  const work = each * stretches * depth * stepClocks(tiling);
  const sum = parts === 1 ? 0 : CLOCKS.kernel + 2 * 4 * parts * batch * m * n / BYTES_PER_CLOCK;
  return waits + work + sum;
}

const SIZES = [16, 32, 64, 128];

/**
 * The cut that is likely to be fastest, of a length in so many parts at most. The smallest tiles are
 * not for tensor cores.
 */
export function tilingOf(
  shape: MatmulShape,
  numbers: ProductNumbers = "f32",
  mostParts = MOST_PARTS,
): Tiling {
  const { m, n, k } = shape;
  const fits = (tile: number, size: number) => tile === 16 || tile / 2 < size;
  const tiles = SIZES.flatMap((rows) => SIZES.map((columns): Tile => ({ numbers, rows, columns })))
    .filter(({ rows, columns }) =>
      numbers === "f32" ? fits(rows, m) && fits(columns, n) : warpsOf(rows, columns) !== undefined
    );
  const lengths = Array.from({ length: mostParts }, (_, i) => Math.ceil(k / (i + 1) / PART) * PART)
    .filter((length, i) => i === 0 || length >= LEAST_PART);
  const cuts = tiles.flatMap((tile) =>
    [...new Set(lengths)].map((partLength): Tiling => ({
      ...{ ...tile, partLength },
      parts: Math.max(1, Math.ceil(k / partLength)),
    }))
  );
  return cuts.map((cut) => ({ cut, clocks: clocks(shape, cut) }))
    .reduce((best, next) => next.clocks < best.clocks ? next : best).cut;
}
