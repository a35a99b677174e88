/**
 * Products of a few rows with weights in blocks (q8_0, q4_0), as decoding makes them. Whole numbers of
 * q8_0 become f32, are multiplied with the activations, and a block's sum with its scale. With q4_0,
 * and with q8_0 where a processor has AVX-512 VNNI, activations become whole numbers themselves
 * (activations.ts): arithmetic in f32 would take longer than the weights take to come from memory.
 */

import type { Epilogue } from "../../graph/step.ts";
import { WEIGHT_BLOCK } from "../../graph/tensor.ts";
import { activationBytes, storeActivations } from "./activations.ts";
import { wholeByteSums } from "./byte_sums.ts";
import type { Kernel, MatmulShape } from "../kernel.ts";
import { type Block, kernel } from "../language/block.ts";
import { add, equal, fma, i32, load, loadF16, mul, offset, splat } from "../language/language.ts";
import type { KernelCode, Lanes } from "../language/syntax.ts";
import { epilogueKey, productCost, productParameters, storeRow } from "../matmul/result.ts";
import {
  at,
  F32,
  type Index,
  type Pointer,
  prefetchRange,
  READ_AHEAD,
  sumsOfSome,
  type V,
  zeros,
} from "../language/vectors.ts";
import { nibbleSums, type WeightTile } from "./nibble_sums.ts";
import { quants, SCALE, type WeightMatrix, weightTile } from "../weights/rows.ts";
import { TILE_ROWS, weightRowBytes } from "../weights/weights.ts";

/** Tiles of four columns of a work item. */
const TILES = 4;
const ITEM = TILES * TILE_ROWS;

type BlockType = "q8_0" | "q4_0";

/**
 * The kernel; operands as those of `matmulKernel`.
 * @param dots whether the processor multiplies bytes of 0 … 255: then activations become whole numbers
 * beside q8_0 too
 */
export function blockMatvecKernel(
  shape: MatmulShape,
  dtype: BlockType,
  epilogue?: Epilogue,
  dots = false,
): Kernel {
  const whole = dtype === "q4_0" || dots;
  return {
    key: JSON.stringify(["block_matvec", shape, epilogueKey(epilogue), whole]),
    code: (lanes) => code(shape, { dtype, whole }, lanes, epilogue),
    items: Math.ceil(shape.n / ITEM),
    scratchBytes: sumsOffset(shape, whole) + (epilogue === undefined ? 0 : shape.m * ITEM * F32),
    ...(whole ? { prepare: activationsKernel(shape, epilogue) } : {}),
    streams: { operand: 1, itemBytes: ITEM * weightRowBytes(dtype, shape.k) },
    ...productCost(shape, epilogue),
  };
}

/** Bytes of scratch memory before the sums that an epilogue waits for. */
const sumsOffset = (shape: MatmulShape, whole: boolean) =>
  whole ? activationBytes(shape) : TILE_ROWS * F32;

/** Makes whole numbers of the activations; on the product's operands. */
function activationsKernel(shape: MatmulShape, epilogue?: Epilogue): Kernel["prepare"] {
  const { m, k, a, weight } = shape;
  const parameters = productParameters(epilogue);
  return {
    key: JSON.stringify(["activations", { m, k, a, weight }, Object.keys(parameters).length]),
    code: (lanes) =>
      kernel("activations", parameters, (k, args) => {
        storeActivations(k, shape, args as unknown as Record<string, Pointer>);
      }, lanes),
  };
}

function code(
  shape: MatmulShape,
  { dtype, whole }: { readonly dtype: BlockType; readonly whole: boolean },
  lanes: Lanes,
  epilogue?: Epilogue,
): KernelCode {
  const { n, k: length } = shape;
  const matrix: WeightMatrix = { dtype, rows: n, columns: length };
  return kernel("block_matvec", productParameters(epilogue), (k, all) => {
    const args = all as unknown as Record<string, Pointer>;
    const target = { shape, epilogue, args };
    const four = k.withLanes(4);
    const sumsAt = offset(args.scratch, sumsOffset(shape, whole));
    const sumsOf = dtype === "q4_0" ? nibbleSums : whole ? wholeByteSums : byteSums;
    /** Of columns from `first` on, those from place on. */
    const tile = (first: Index, place: Index, columns: number) => {
      const column = k.let(add(first, place));
      sumsOf(k, { shape, matrix, args, column }, columns).forEach((sum, row) => {
        const part = { batch: i32(0), row: i32(row), column, columns };
        if (epilogue === undefined) storeRow(four, target, part, () => sum);
        else k.store(sum, at(sumsAt, place, F32), row * ITEM * F32);
      });
    };
    const run = (first: Index, columns: number) => {
      const ofTiles = columns - columns % TILE_ROWS;
      k.for(0, ofTiles, TILE_ROWS, (place) => tile(first, place, TILE_ROWS));
      if (columns > ofTiles) tile(first, i32(ofTiles), columns - ofTiles);
      if (epilogue === undefined) return;
      // By whole vectors: an epilogue by fours takes as long as the sums where it has functions.
      for (let row = 0; row < shape.m; row++) {
        const part = { batch: i32(0), row: i32(row), column: first, columns };
        storeRow(
          k,
          target,
          part,
          (j) => load(k.vector, sumsAt, row * ITEM * F32 + j * k.vectorBytes),
        );
      }
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
  }, lanes);
}

/** The products of every row with up to four columns, which are rows of q8_0 weights. */
function byteSums(
  k: Block,
  { shape: { m, k: length, a }, matrix, args, column }: WeightTile,
  columns: number,
): V[] {
  const tile = weightTile(matrix, args.b, column);
  const [values, scales] = [k.let(tile.values), k.let(tile.scales)];
  const totals = Array.from({ length: m }, () => zeros(k, columns));
  k.for(0, length / WEIGHT_BLOCK, 1, (block) => {
    const source = k.let(at(values, block, columns * WEIGHT_BLOCK));
    const activations = k.let(at(args.a, block, WEIGHT_BLOCK * F32));
    const scaleAt = k.let(at(scales, block, columns * SCALE));
    prefetchRange(k, source, READ_AHEAD, columns * WEIGHT_BLOCK);
    storeScales(k, scaleAt, columns, args.scratch);
    for (let c = 0; c < columns; c++) {
      const parts = quants(k, "q8_0", offset(source, c * WEIGHT_BLOCK)).map((part) => k.let(part));
      const scale = splat(load("f32", args.scratch, c * F32), k.vector);
      totals.forEach((total, row) => {
        const activation = (i: number) =>
          load(k.vector, activations, row * a.mStride * F32 + i * k.vectorBytes);
        const first = mul(parts[0], activation(0));
        const sum = parts.slice(1).reduce<V>((s, p, i) => fma(p, activation(i + 1), s), first);
        k.set(total[c], fma(sum, scale, total[c]));
      });
    }
  });
  return totals.map((total) => sumsOfSome(k, total));
}

/** The scales of a tile as f32: a load that puts one in every lane costs no arithmetic. */
function storeScales(k: Block, scales: Pointer, count: number, to: Pointer): void {
  if (count === TILE_ROWS) return k.store(loadF16("f32x4", scales), to);
  for (let c = 0; c < count; c++) k.store(loadF16("f32", scales, c * SCALE), to, c * F32);
}
