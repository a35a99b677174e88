/** GPU kernels of a table's rows by token id, and of the gradient of the table. */

import { tensorBytes } from "../../graph/tensor.ts";
import type { EmbeddingShape } from "../embedding.ts";
import {
  add,
  bitAnd,
  div,
  equal,
  i32,
  lessThan,
  max,
  min,
  mul,
  rem,
  select,
  sub,
} from "../language/language.ts";
import type { StepKernels } from "../program.ts";
import { gpuKernel } from "./block.ts";
import type { GpuKernel } from "./kernel.ts";
import { f32, type Index, type Place } from "./language.ts";
import { THREADS } from "./loop.ts";
import { weightElement } from "./weights.ts";

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
 * The kernels of the gradient of a table. Operands: gradient [tokens, width], ids (i32), the table's
 * gradient. The table becomes zeros; then the group of the first token with an id sums all tokens
 * with that id, in their order, so that work goes with tokens and not with the vocabulary. Ids that
 * are not in the table are skipped.
 */
export function embeddingGradient(shape: EmbeddingShape): StepKernels<GpuKernel> {
  return {
    kernels: [
      {
        kernel: zeros(shape.vocabulary * shape.width),
        operands: [2],
        firstWritten: 0,
        part: "zeros",
      },
      { kernel: tokenSums(shape), operands: [0, 1, 2], firstWritten: 2, part: "sums" },
    ],
    scratch: [],
  };
}

/** Elements of a thread that writes zeros. */
const ZEROS = 16;

function zeros(elements: number): GpuKernel {
  const threads = Math.ceil(elements / ZEROS);
  return {
    key: `zeros ${elements}`,
    groups: Math.ceil(threads / THREADS),
    flops: 0,
    bytes: 4 * elements,
    code: () =>
      gpuKernel("zeros", THREADS, { table: "+f32" }, (k, { table }) => {
        const first = k.let(add(mul(k.group, i32(ZEROS * THREADS)), k.thread));
        for (let i = 0; i < ZEROS; i++) {
          const element = k.let(add(first, i32(i * THREADS)));
          k.if(lessThan(element, i32(elements)), () => k.write(table, element, f32(0)));
        }
      }),
  };
}

/** Tokens of one id that are listed at a time. */
const LISTED = 1024;
/** Threads whose counts one thread adds up: the square root of those of a group. */
const COUNTED = 16;
/** Tokens whose gradients are on their way at once. */
const UNROLL = 8;

/**
 * A group a token. Every thread looks through some of the ids, in their order; those that are the
 * token's are listed in shared memory, where the threads that look before a thread tell by their
 * counts where its own begin.
 */
function tokenSums({ vocabulary, width, tokens }: EmbeddingShape): GpuKernel {
  const each = Math.ceil(tokens / THREADS);
  const operands = { gradient: "f32", ids: "i32", table: "+f32" } as const;
  const code = () =>
    gpuKernel("embedding_gradient", THREADS, operands, (k, { gradient, ids, table }) => {
      const [counts, sums] = [k.shared("i32", THREADS), k.shared("i32", THREADS / COUNTED)];
      const list = k.shared("i32", LISTED);
      const id = k.read(ids, k.group);
      const first = k.let(mul(k.thread, i32(each)));
      const end = k.let(min(add(first, i32(each)), i32(tokens)));
      const own = (visit: (token: Index) => void) =>
        k.for(first, end, 1, (token) => k.if(equal(k.read(ids, token), id), () => visit(token)));
      const count = k.variable(i32(0));
      own(() => k.set(count, add(count, i32(1))));
      k.write(counts, k.thread, count);
      k.barrier();
      const countsOf = (begin: Index, end: Index) => {
        const sum = k.variable(i32(0));
        k.for(begin, end, 1, (thread) => k.set(sum, add(sum, k.read(counts, thread))));
        return sum;
      };
      k.if(lessThan(k.thread, i32(THREADS / COUNTED)), () => {
        const begin = k.let(mul(k.thread, i32(COUNTED)));
        k.write(sums, k.thread, countsOf(begin, k.let(add(begin, i32(COUNTED)))));
      });
      k.barrier();
      const block = k.let(div(k.thread, i32(COUNTED)));
      const before = countsOf(k.let(mul(block, i32(COUNTED))), k.thread);
      const all = k.variable(i32(0));
      k.for(0, THREADS / COUNTED, 1, (at) => {
        const sum = k.read(sums, at);
        k.set(all, add(all, sum));
        k.if(lessThan(at, block), () => k.set(before, add(before, sum)));
      });
      const exists = bitAnd(lessThan(i32(-1), id), lessThan(id, i32(vocabulary)));
      const total = k.uniform(select(exists, all, i32(0)));
      const sumsHere = k.variable(i32(0));
      k.for(0, total, LISTED, (from) => {
        const rank = k.variable(k.let(sub(before, from)));
        own((token) => {
          k.if(bitAnd(lessThan(i32(-1), rank), lessThan(rank, i32(LISTED))), () => {
            k.write(list, rank, token);
          });
          k.set(rank, add(rank, i32(1)));
        });
        k.barrier();
        const isFirst = equal(from, i32(0));
        k.if(isFirst, () => k.set(sumsHere, equal(k.read(list, i32(0)), k.group)));
        const listed = k.let(min(sub(total, from), i32(LISTED)));
        const last = k.let(select(sumsHere, i32(width), i32(0)));
        k.for(k.thread, last, THREADS, (column) => {
          const to = k.let(add(mul(id, i32(width)), column));
          const sum = k.variable(f32(0));
          k.if(isFirst, () => {}, () => k.set(sum, k.read(table, to)));
          k.for(0, listed, 1, (at) => {
            const row = mul(k.read(list, at), i32(width));
            k.set(sum, add(sum, k.read(gradient, add(row, column))));
          }, UNROLL);
          k.write(table, to, sum);
        });
        k.barrier();
      });
    });
  return {
    key: `embedding_gradient ${JSON.stringify({ vocabulary, width, tokens })}`,
    groups: tokens,
    flops: tokens * width,
    bytes: tokens * (2 * width + 1) * 4,
    code,
  };
}
