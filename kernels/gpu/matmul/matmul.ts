/** GPU kernels of matrix products, with pointwise work on the result before it is stored. */

import type { Epilogue, Step } from "../../../graph/step.ts";
import type { MatmulShape } from "../../kernel.ts";
import { add, bitAnd, div, i32, lessThan, min, mul, rem } from "../../language/language.ts";
import { epilogueKey, productCost } from "../../matmul/result.ts";
import { oneKernel, type StepKernels } from "../../program.ts";
import { type GpuBlock, gpuKernel } from "../block.ts";
import type { GpuKernel } from "../kernel.ts";
import type { Float, Index, Place } from "../language.ts";
import { loopOperands, loopRow, THREADS } from "../loop.ts";
import {
  addProduct,
  type Side,
  squareSums,
  type Steps,
  stretches,
  TILE_THREADS,
} from "./products.ts";
import { addTensorProduct, eachTensorElement, tensorRoom, tensorSums } from "./tensor_products.ts";
import { warpsOf } from "./tensor_fragments.ts";
import { eachElement, type TileElement } from "./tile_store.ts";
import { depthOf, type ProductNumbers, type Tiling, tilingOf } from "./tiling.ts";

/** Which sides are read by four. */
interface Wide {
  readonly a: boolean;
  readonly b: boolean;
}

/** How a side of a product lies, in elements. */
interface SideStrides {
  readonly size: number;
  readonly stride: number;
  readonly step: number;
  readonly batchStride: number;
}

const leftOf = ({ m, a }: MatmulShape): SideStrides => ({
  ...{ size: m, stride: a.mStride, step: a.kStride, batchStride: a.batchStride },
});
const rightOf = ({ n, b }: MatmulShape): SideStrides => ({
  ...{ size: n, stride: b.nStride, step: b.kStride, batchStride: b.batchStride },
});

const liesAlong = ({ stride, step }: SideStrides): boolean => step === 1 && stride !== 1;

/** Whether a side can be read by four: its neighbours lie so, and so do its lines. */
function isWide(side: SideStrides, length: number): boolean {
  const { size, stride, step, batchStride } = side;
  const numbers = liesAlong(side) ? [stride, length] : [step, size];
  return (liesAlong(side) || stride === 1) && [...numbers, batchStride].every((n) => n % 4 === 0);
}

/**
 * The kernels of a product's step. Its operands: a, b, the epilogue's other than the product, and the
 * results (the product itself where there is no epilogue). Where there are few tiles and the length
 * is long, parts of it are summed by different groups into scratch memory, [part, batch, m, n].
 */
export function matmulKernels(
  step: Step,
  shape: MatmulShape,
  epilogue?: Epilogue,
  numbers: ProductNumbers = "f32",
): StepKernels<GpuKernel> {
  const tiling = tilingOf(shape, numbers);
  if (tiling.parts === 1) return oneKernel(step, productKernel(shape, tiling, epilogue));
  const { reads, writes } = step;
  const scratch = reads.length + writes.length;
  const others = Array.from({ length: scratch - 2 }, (_, i) => i + 2);
  return {
    kernels: [
      {
        kernel: productKernel(shape, tiling),
        operands: [0, 1, scratch],
        firstWritten: 2,
        part: "parts",
      },
      {
        kernel: sumKernel(shape, tiling.parts, epilogue),
        operands: [scratch, ...others],
        firstWritten: reads.length - 1,
        part: "sum",
      },
    ],
    scratch: [4 * tiling.parts * shape.batch * shape.m * shape.n],
  };
}

/**
 * One kernel of a whole product, whatever its length. Operands: a, b, the epilogue's other than the
 * product, and the results.
 */
export const matmulKernel = (
  shape: MatmulShape,
  epilogue?: Epilogue,
  numbers: ProductNumbers = "f32",
): GpuKernel => productKernel(shape, tilingOf(shape, numbers, 1), epilogue);

/** The kernel of a product by a cut, or of the sums of its parts. */
export function productKernel(
  shape: MatmulShape,
  tiling: Tiling,
  epilogue?: Epilogue,
): GpuKernel {
  const { batch, m, n, k } = shape;
  const { rows, columns, parts } = tiling;
  const wide = { a: isWide(leftOf(shape), k), b: isWide(rightOf(shape), k) };
  const cost = productCost(shape, epilogue);
  const kernelOf = (wide: Wide): GpuKernel => ({
    key: JSON.stringify(["matmul", shape, tiling, wide, epilogueKey(epilogue)]),
    code: () => matmulCode(shape, tiling, wide, epilogue),
    groups: parts * batch * Math.ceil(m / rows) * Math.ceil(n / columns),
    flops: cost.flops,
    bytes: cost.bytes + 4 * (parts - 1) * batch * m * n,
  });
  const operands = [...(wide.a ? [0] : []), ...(wide.b ? [1] : [])];
  return operands.length === 0 ? kernelOf(wide) : {
    ...kernelOf(wide),
    aligned: { operands, otherwise: kernelOf({ a: false, b: false }) },
  };
}

/** Operands of an epilogue but for the product, and results. */
export function resultOperands(epilogue?: Epilogue) {
  return epilogue === undefined ? { product: "+f32" as const } : Object.fromEntries(
    Object.entries(loopOperands(epilogue)).filter(([name]) =>
      name !== `operand${epilogue.product}`
    ),
  );
}

/** An element of a product. */
interface Element {
  readonly batch: Index;
  readonly row: Index;
  readonly column: Index;
  readonly value: Float;
}

/**
 * Stores elements, of which some may lie beyond the last unless there are only `whole` tiles, through
 * the epilogue if there is one. For one beyond the last nothing is read: a program may be bound so that
 * its results lie where the epilogue reads, and the nearest that exists is written by another thread.
 */
export function storeElements(
  k: GpuBlock,
  places: Readonly<Record<string, Place>>,
  { m, n }: MatmulShape,
  epilogue: Epilogue | undefined,
  elements: readonly Element[],
  whole = false,
): void {
  const computed = ({ batch, row, column, value }: Element): () => void => {
    if (epilogue === undefined) {
      const at = add(mul(add(mul(batch, i32(m)), row), i32(n)), column);
      return () => k.write(places.product as Place<"f32">, at, value);
    }
    const own = loopRow(k, epilogue, places, row, { operand: epilogue.product, value });
    const at = own.values.at({ column });
    const results = epilogue.outputs.map((i) => k.let(at.value(i)));
    return () => epilogue.outputs.forEach((i, o) => own.store(i, column, results[o]));
  };
  if (whole) {
    // All are computed before any is stored: what they read then arrives together.
    elements.map(computed).forEach((store) => store());
    return;
  }
  for (const element of elements) {
    const exists = bitAnd(lessThan(element.row, i32(m)), lessThan(element.column, i32(n)));
    k.if(exists, () => computed(element)());
  }
}

function matmulCode(
  shape: MatmulShape,
  tiling: Tiling,
  wide: Wide,
  epilogue?: Epilogue,
) {
  const { batch, m, n, k: length } = shape;
  const { numbers, rows, columns } = tiling;
  const operands = { a: "f32", b: "f32", ...resultOperands(epilogue) } as const;
  const name = numbers === "f32" ? "matmul" : `matmul_${numbers}`;
  return gpuKernel(name, TILE_THREADS, operands, (k, all) => {
    const places = all as Readonly<Record<string, Place>> & typeof all;
    const across = Math.ceil(n / columns);
    const tiles = across * Math.ceil(m / rows);
    const matrix = k.let(div(k.group, i32(tiles)));
    const tile = k.let(rem(k.group, i32(tiles)));
    const firstRow = k.let(mul(div(tile, i32(across)), i32(rows)));
    const firstColumn = k.let(mul(rem(tile, i32(across)), i32(columns)));
    const index = k.let(rem(matrix, i32(batch)));
    const sideOf = (
      place: Place<"f32">,
      strides: SideStrides,
      lines: number,
      first: Index,
      byFour: boolean,
    ): Side => {
      const { size, stride, step, batchStride } = strides;
      const base = k.let(mul(index, i32(batchStride)));
      const at = (line: Index, steps: Index, width: number) => {
        const wanted = add(first, line);
        const own = size % lines === 0 ? wanted : min(wanted, i32(size - width));
        return add(base, add(mul(own, i32(stride)), mul(steps, i32(step))));
      };
      const along = liesAlong(strides);
      return {
        lines,
        lies: along ? "along" : "across",
        read: (line, steps) => k.read(place, at(line, steps, 1)),
        ...(byFour
          ? { read4: (line, steps) => k.read4(place, k.let(at(line, steps, along ? 1 : 4))) }
          : {}),
      };
    };
    const left = sideOf(places.a, leftOf(shape), rows, firstRow, wide.a);
    const right = sideOf(places.b, rightOf(shape), columns, firstColumn, wide.b);
    const steps = stepsOf(k, div(matrix, i32(batch)), length, tiling);
    const store = (elements: readonly TileElement[]) => {
      const own = elements.map(({ row, column, value }): Element => ({
        ...{ batch: matrix, value },
        row: k.let(add(firstRow, row)),
        column: k.let(add(firstColumn, column)),
      }));
      storeElements(k, places, shape, epilogue, own, m % rows === 0 && n % columns === 0);
    };
    if (numbers === "tf32") {
      const warps = warpsOf(rows, columns)!;
      const room = tensorRoom(k, left, right, warps);
      const sums = tensorSums(k, room, left, right, warps);
      addTensorProduct(k, room, sums, left, right, steps);
      eachTensorElement(k, room, sums, store);
      return;
    }
    const room = stretches(k, rows + columns, depthOf(tiling), LEAST_ROWS * columns);
    const sums = squareSums(k, rows, columns);
    addProduct(k, room, sums, left, right, steps);
    eachElement(k, room, sums, store);
  });
}

/** The steps of a part of a product. */
function stepsOf(k: GpuBlock, part: Index, length: number, tiling: Tiling): Steps {
  const { parts, partLength } = tiling;
  if (parts === 1) return length;
  const begin = k.let(mul(part, i32(partLength)));
  const whole = length % depthOf(tiling) === 0;
  return { begin, end: k.let(min(add(begin, i32(partLength)), i32(length))), whole };
}

/** Rows of a tile that shared memory holds at least when the tile is stored. */
const LEAST_ROWS = 16;

/** Adds up the parts of a product, in their order. Operands: parts, then as of the product. */
function sumKernel(shape: MatmulShape, parts: number, epilogue?: Epilogue): GpuKernel {
  const { batch, m, n } = shape;
  const elements = batch * m * n;
  const one = productCost({ ...shape, k: 0 }, epilogue);
  const operands = { parts: "f32", ...resultOperands(epilogue) } as const;
  return {
    key: JSON.stringify(["matmul_sum", batch, m, n, parts, epilogueKey(epilogue)]),
    groups: Math.ceil(elements / THREADS),
    flops: one.flops + (parts - 1) * elements,
    bytes: one.bytes + 4 * parts * elements,
    code: () =>
      gpuKernel("matmul_sum", THREADS, operands, (k, all) => {
        const places = all as Readonly<Record<string, Place>> & typeof all;
        const element = k.let(add(mul(k.group, i32(THREADS)), k.thread));
        const own = k.let(min(element, i32(elements - 1)));
        const read = Array.from(
          { length: parts },
          (_, part) => k.read(places.parts, add(own, i32(part * elements))),
        );
        const value = k.let(read.reduce((sum, next) => k.let(add(sum, next))));
        const line = k.let(div(own, i32(n)));
        const [index, column] = [k.let(div(line, i32(m))), k.let(rem(own, i32(n)))];
        k.if(lessThan(element, i32(elements)), () => {
          const row = k.let(rem(line, i32(m)));
          storeElements(k, places, shape, epilogue, [{ batch: index, row, column, value }], true);
        });
      }),
  };
}
