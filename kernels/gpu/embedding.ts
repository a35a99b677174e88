/** GPU kernels of a table's rows by token id, and of the gradient of the table. */

import { tensorBytes } from "../../graph/tensor.ts";
import type { EmbeddingShape } from "../embedding.ts";
import { add, bitAnd, div, equal, i32, lessThan, max, min, mul, rem, select } from "../language.ts";
import type { GpuKernel } from "./kernel.ts";
import { f32, gpuKernel, type Place } from "./language.ts";
import { THREADS } from "./loop.ts";
import { weightElement } from "./weights.ts";

/** Columns of a group of the gradient. */
const COLUMNS = 64;
/** Rows of the table that a group walks the ids for. */
const ROWS = 4;

/**
 * Operands table, ids (i32) → rows [tokens, width]. An id that is not in the table gives NaN, which
 * nothing that is computed from it can hide.
 */
export function embedding(shape: EmbeddingShape): GpuKernel {
  const { vocabulary, width, tokens, weight } = shape;
  const matrix = weight && { dtype: weight, rows: vocabulary, columns: width };
  return {
    key: `embedding ${JSON.stringify(shape)}`,
    groups: Math.ceil(tokens * width / THREADS),
    flops: 0,
    bytes: tokens * (tensorBytes([width], weight ?? "f32") + 4 * width + 4),
    code: () =>
      gpuKernel(
        "embedding",
        THREADS,
        { table: matrix === undefined ? "f32" : "i32", ids: "i32", rows: "+f32" },
        (k, { table, ids, rows }) => {
          const element = k.let(add(mul(k.group, i32(THREADS)), k.thread));
          k.if(lessThan(element, i32(tokens * width)), () => {
            const id = k.read(ids, div(element, i32(width)));
            const exists = k.let(bitAnd(lessThan(i32(-1), id), lessThan(id, i32(vocabulary))));
            const row = k.let(max(min(id, i32(vocabulary - 1)), i32(0)));
            const column = k.let(rem(element, i32(width)));
            const value = matrix === undefined
              ? k.read(table as Place<"f32">, add(mul(row, i32(width)), column))
              : weightElement(k, matrix, table as Place<"i32">, row, column);
            k.write(rows, element, select(exists, value, f32(NaN)));
          });
        },
      ),
  };
}

/**
 * Operands gradient [tokens, width], ids (i32) → gradient of the table. Each row sums its tokens in
 * their order; ids that are not in the table are skipped. A thread owns a column of one row.
 */
export function embeddingGradient(shape: EmbeddingShape): GpuKernel {
  const { vocabulary, width, tokens } = shape;
  const blocks = Math.ceil(width / COLUMNS);
  const threads = COLUMNS * ROWS;
  return {
    key: `embedding_gradient ${JSON.stringify(shape)}`,
    groups: blocks * Math.ceil(vocabulary / ROWS),
    flops: tokens * width,
    bytes: (vocabulary * width + tokens * (2 * width + 1)) * 4,
    code: () =>
      gpuKernel(
        "embedding_gradient",
        threads,
        { gradient: "f32", ids: "i32", table: "+f32" },
        (k, { gradient, ids, table }) => {
          const shared = k.shared("i32", threads);
          const firstRow = mul(div(k.group, i32(blocks)), i32(ROWS));
          const row = k.let(add(firstRow, div(k.thread, i32(COLUMNS))));
          const firstColumn = mul(rem(k.group, i32(blocks)), i32(COLUMNS));
          const column = k.let(add(firstColumn, rem(k.thread, i32(COLUMNS))));
          const inside = k.let(min(column, i32(width - 1)));
          const sum = k.variable(f32(0));
          k.for(0, tokens, threads, (first) => {
            const own = k.let(add(first, k.thread));
            const id = k.read(ids, k.let(min(own, i32(tokens - 1))));
            k.write(shared, k.thread, select(lessThan(own, i32(tokens)), id, i32(-1)));
            k.barrier();
            k.for(0, threads, 1, (token) => {
              k.if(equal(k.read(shared, token), row), () => {
                const from = add(mul(add(first, token), i32(width)), inside);
                k.set(sum, add(sum, k.read(gradient, from)));
              });
            });
            k.barrier();
          });
          const exists = bitAnd(lessThan(row, i32(vocabulary)), lessThan(column, i32(width)));
          k.if(exists, () => k.write(table, add(mul(row, i32(width)), column), sum));
        },
      ),
  };
}
