/** GPU kernels of matrix products, with pointwise work on the result before it is stored. */

import type { Epilogue } from "../../graph/step.ts";
import type { MatmulShape } from "../kernel.ts";
import { add, bitAnd, div, i32, lessThan, min, mul, rem } from "../language.ts";
import { epilogueKey, productCost } from "../matmul_result.ts";
import type { GpuKernel } from "./kernel.ts";
import { type Float, type GpuBlock, gpuKernel, type Index, type Place } from "./language.ts";
import { loopOperands, loopRow } from "./loop.ts";
import { addProduct, type Side, stretches, TILE_THREADS, tileSums } from "./products.ts";

/** Rows and columns of a group's tile at most. */
const TILE = 64;

/** Rows or columns of a tile for so many in all. */
const tileOf = (size: number): number => size <= 16 ? 16 : size <= 32 ? 32 : TILE;

/**
 * The kernel of a matrix product. Operands: a, b, the epilogue's operands other than the product,
 * and the results (the product itself where there is no epilogue).
 */
export function matmulKernel(shape: MatmulShape, epilogue?: Epilogue): GpuKernel {
  const { batch, m, n } = shape;
  const [rows, columns] = [tileOf(m), tileOf(n)];
  return {
    key: JSON.stringify(["matmul", shape, epilogueKey(epilogue)]),
    code: () => matmulCode(shape, rows, columns, epilogue),
    groups: batch * Math.ceil(m / rows) * Math.ceil(n / columns),
    ...productCost(shape, epilogue),
  };
}

/** Operands of a product's kernel. */
export function productOperands(epilogue?: Epilogue) {
  const results = epilogue === undefined ? { product: "+f32" as const } : Object.fromEntries(
    Object.entries(loopOperands(epilogue)).filter(([name]) =>
      name !== `operand${epilogue.product}`
    ),
  );
  return { a: "f32", b: "f32", ...results } as const;
}

/** Stores an element of the product, through the epilogue if there is one. */
export function storeElement(
  k: GpuBlock,
  places: Readonly<Record<string, Place>>,
  { m, n }: MatmulShape,
  epilogue: Epilogue | undefined,
  { batch, row, column }: { readonly batch: Index; readonly row: Index; readonly column: Index },
  value: Float,
): void {
  if (epilogue === undefined) {
    const at = add(mul(add(mul(batch, i32(m)), row), i32(n)), column);
    return k.write(places.product as Place<"f32">, at, value);
  }
  const given = { operand: epilogue.product, value };
  const own = loopRow(k, epilogue, places, row, given);
  const at = own.values.at({ column });
  for (const i of epilogue.outputs) own.store(i, column, at.value(i));
}

function matmulCode(shape: MatmulShape, rows: number, columns: number, epilogue?: Epilogue) {
  const { m, n, k: length } = shape;
  const operands = productOperands(epilogue);
  return gpuKernel("matmul", TILE_THREADS, operands, (k, all) => {
    const places = all as Readonly<Record<string, Place>> & typeof all;
    const across = Math.ceil(n / columns);
    const tiles = across * Math.ceil(m / rows);
    const batch = k.let(div(k.group, i32(tiles)));
    const tile = k.let(rem(k.group, i32(tiles)));
    const firstRow = k.let(mul(div(tile, i32(across)), i32(rows)));
    const firstColumn = k.let(mul(rem(tile, i32(across)), i32(columns)));
    const a = k.let(mul(batch, i32(shape.a.batchStride)));
    const b = k.let(mul(batch, i32(shape.b.batchStride)));
    const side = (
      { place, lines, size, first, base, stride, step }: {
        readonly place: Place<"f32">;
        readonly lines: number;
        readonly size: number;
        readonly first: Index;
        readonly base: Index;
        readonly stride: number;
        readonly step: number;
      },
    ): Side => ({
      lines,
      lies: step === 1 && stride !== 1 ? "along" : "across",
      read: (line, at) => {
        const wanted = add(first, line);
        const own = size % lines === 0 ? wanted : min(wanted, i32(size - 1));
        return k.read(place, add(base, add(mul(own, i32(stride)), mul(at, i32(step)))));
      },
    });
    const room = stretches(k, rows, columns);
    const sums = tileSums(k, rows, columns);
    const left = side({
      ...{ place: places.a, lines: rows, size: m, first: firstRow, base: a },
      ...{ stride: shape.a.mStride, step: shape.a.kStride },
    });
    const right = side({
      ...{ place: places.b, lines: columns, size: n, first: firstColumn, base: b },
      ...{ stride: shape.b.nStride, step: shape.b.kStride },
    });
    addProduct(k, room, sums, left, right, length);
    sums.values.forEach((values, r) => {
      const row = k.let(add(firstRow, sums.row(r)));
      values.forEach((value, c) => {
        const column = k.let(add(firstColumn, sums.column(c)));
        const exists = bitAnd(lessThan(row, i32(m)), lessThan(column, i32(n)));
        k.if(exists, () => storeElement(k, places, shape, epilogue, { batch, row, column }, value));
      });
    });
  });
}
