/**
 * Products of a few rows with weights in blocks (q8_0, q4_0), as decoding makes them. The
 * activations are rounded to 16 bits by blocks of 32 with a scale each, so that a block is summed in
 * exact whole numbers, at the speed of the memory; f32 activations would need an expansion of every
 * weight. An activation is off by at most 2⁻¹⁶ of the largest in its block.
 */

import type { Epilogue } from "../graph/step.ts";
import { WEIGHT_BLOCK } from "../graph/tensor.ts";
import type { Kernel, MatmulShape } from "./kernel.ts";
import {
  abs,
  acrossLanes,
  add,
  addI32,
  type Block,
  constant,
  div,
  dot,
  equal,
  type Expr,
  fma,
  i32,
  kernel,
  type KernelCode,
  lane,
  lanesToF32,
  laneSum,
  lessThan,
  load,
  loadF16,
  loadI16,
  loadI32,
  max,
  mul,
  narrow,
  offset,
  select,
  shuffle,
  splat,
} from "./language.ts";
import { epilogueKey, productCost, productParameters, storeRow } from "./matmul_result.ts";
import { at, F32, FOUR, type Index, type Pointer, sums, type V, zeros } from "./vectors.ts";
import { quants, SCALE, type WeightMatrix, weightTile } from "./weight_rows.ts";
import { TILE_ROWS, weightRowBytes } from "./weights.ts";

/** Tiles of four columns of a work item. */
const TILES = 4;
const ITEM = TILES * TILE_ROWS;
/** The largest 16-bit number. */
const LARGEST = 32767;
/** Blocks whose largest value is below this count as 0; its inverse is still finite. */
const SMALLEST = 1e-30;
/** What q4_0 stores more than it means. */
const Q4_ZERO = 8;

type BlockType = "q8_0" | "q4_0";

/** Bytes that a block of rounded activations takes: 16-bit numbers, and what corrects a sum. */
const activationBytes = (dtype: BlockType) => 2 * WEIGHT_BLOCK + (dtype === "q4_0" ? FOUR : 0);

/** The kernel; operands as those of `matmulKernel`. */
export function blockMatvecKernel(
  shape: MatmulShape,
  dtype: BlockType,
  epilogue?: Epilogue,
): Kernel {
  const { m, n, k } = shape;
  return {
    key: JSON.stringify(["block_matvec", shape, epilogueKey(epilogue)]),
    code: () => code(shape, dtype, epilogue),
    items: Math.ceil(n / ITEM),
    scratchBytes: m * k / WEIGHT_BLOCK * (activationBytes(dtype) + F32),
    ...productCost(shape, epilogue),
  };
}

/** Rounded activations: their blocks row by row, then the scales. */
interface Activations {
  readonly blocks: Pointer;
  readonly scales: Pointer;
}

function code(shape: MatmulShape, dtype: BlockType, epilogue?: Epilogue): KernelCode {
  const { m, n, k: length } = shape;
  const matrix = { dtype, rows: n, columns: length };
  return kernel("block_matvec", productParameters(epilogue), (k, all) => {
    const args = all as unknown as Record<string, Pointer>;
    const blocks = length / WEIGHT_BLOCK;
    const scales = k.let(offset(args.scratch, m * blocks * activationBytes(dtype)));
    const activations = { blocks: args.scratch, scales };
    k.if(lessThan(all.begin, all.end), () => {
      for (let row = 0; row < m; row++) roundRow(k, shape, dtype, args.a, row, activations);
    });
    const tile = (column: Index, columns: number) => {
      const rows = tileSums(k, shape, { ...matrix, dtype }, args.b, activations, column, columns);
      rows.forEach((sum, row) => {
        const target = { shape, epilogue, args };
        storeRow(k, target, { batch: i32(0), row: i32(row), column, columns }, () => sum);
      });
    };
    const run = (first: Index, columns: number) => {
      const whole = columns - columns % TILE_ROWS;
      k.for(0, whole, TILE_ROWS, (c) => tile(k.let(add(first, c)), TILE_ROWS));
      if (columns > whole) tile(k.let(add(first, i32(whole))), columns - whole);
    };
    k.for(all.begin, all.end, 1, (item) => {
      const first = k.let(mul(item, i32(ITEM)));
      const left = n % ITEM;
      if (left === 0) run(first, ITEM);
      else {
        const last = equal(item, i32(Math.floor(n / ITEM)));
        k.if(last, () => run(first, left), () => run(first, ITEM));
      }
    });
  });
}

/** Rounds a row of activations. */
function roundRow(
  k: Block,
  { k: length, a }: MatmulShape,
  dtype: BlockType,
  base: Pointer,
  row: number,
  activations: Activations,
): void {
  const blocks = length / WEIGHT_BLOCK;
  const bytes = activationBytes(dtype);
  const from = offset(base, row * a.mStride * F32);
  const to = offset(activations.blocks, row * blocks * bytes);
  const scales = offset(activations.scales, row * blocks * F32);
  k.for(0, blocks, 1, (block) => {
    const source = k.let(at(from, block, WEIGHT_BLOCK * F32));
    const target = k.let(at(to, block, bytes));
    const values = Array.from({ length: 8 }, (_, i) => k.let(load("f32x4", source, i * FOUR)));
    const largest = values.map((v) => abs(v)).reduce((x, y) => k.let(max(x, y)));
    const top = k.let(acrossLanes(largest, k, max));
    // 0 for numbers, NaN for what is none: whole numbers would hide it.
    const zero = constant("f32x4", 0);
    const none = laneSum(values.reduce((sum, v) => k.let(fma(v, zero, sum)), zero), k);
    const scale = add(mul(top, constant("f32x4", 1 / LARGEST)), none);
    const counts = lessThan(constant("f32x4", SMALLEST), top);
    const inverse = k.let(select(counts, div(constant("f32x4", LARGEST), top), zero)) as Expr<
      "f32x4"
    >;
    const rounded = [0, 2, 4, 6].map((i) =>
      k.let(narrow(mul(values[i], inverse), mul(values[i + 1], inverse)))
    );
    rounded.forEach((eight, i) => k.store(eight, target, i * FOUR));
    if (dtype === "q4_0") {
      const parts = rounded.map((eight) => dot(eight, constant("i16x8", -Q4_ZERO)));
      k.store(parts.reduce(addI32), target, 2 * WEIGHT_BLOCK);
    }
    k.store(lane(scale, 0), at(scales, block, F32));
  });
}

/** The products of every row with up to four columns, which are rows of the weights. */
function tileSums(
  k: Block,
  { m, k: length }: MatmulShape,
  matrix: WeightMatrix & { readonly dtype: BlockType },
  base: Pointer,
  activations: Activations,
  column: Index,
  columns: number,
): V[] {
  const { dtype } = matrix;
  const blocks = length / WEIGHT_BLOCK;
  const blockBytes = weightRowBytes(dtype, WEIGHT_BLOCK);
  const bytes = activationBytes(dtype);
  const tile = weightTile(matrix, base, column);
  const [values, scales] = [k.let(tile.values), k.let(tile.scales)];
  const totals = Array.from({ length: m }, () => zeros(k, columns));
  k.for(0, blocks, 1, (block) => {
    const source = k.let(at(values, block, columns * blockBytes));
    const rounded = k.let(at(activations.blocks, block, bytes));
    const activationScale = k.let(at(activations.scales, block, F32));
    const scaleAt = k.let(at(scales, block, columns * SCALE));
    const weightScales = columns === TILE_ROWS
      ? k.let(loadF16("f32x4", scaleAt))
      : partOfScales(k, scaleAt, columns);
    const both = totals.map((_, row) =>
      k.let(mul(weightScales, splat(load("f32", activationScale, row * blocks * F32))))
    );
    for (let c = 0; c < columns; c++) {
      const eights = quants(k, dtype, offset(source, c * blockBytes));
      totals.forEach((total, row) => {
        const own = row * blocks * bytes;
        const products = eights.map((eight, i) => dot(eight, loadI16(rounded, own + i * FOUR)));
        if (dtype === "q4_0") products.push(loadI32(rounded, own + 2 * WEIGHT_BLOCK));
        const sum = products.reduce((x, y) => addI32(x, y));
        const scale = shuffle(both[row], both[row], [c, c, c, c]);
        k.set(total[c], fma(lanesToF32(sum), scale, total[c]));
      });
    }
  });
  return totals.map((total) => {
    const [x, y, z, w] = [0, 1, 2, 3].map((c) => total[c] ?? constant("f32x4", 0));
    return sums(k, x, y, z, w);
  });
}

/** The scales of a tile of fewer than four rows. */
function partOfScales(k: Block, scales: Pointer, count: number): V {
  const one = (c: number): Expr<"f32x4"> =>
    c < count ? splat(loadF16("f32", scales, c * SCALE)) : constant("f32x4", 0);
  return k.let(shuffle(shuffle(one(0), one(1), [0, 4, 0, 4]), one(2), [0, 1, 4, 4]));
}
