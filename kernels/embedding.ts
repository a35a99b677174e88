/** Rows of a table by token id, and the gradient of the table. */

import { tensorBytes, type WeightDType } from "../graph/tensor.ts";
import type { Kernel } from "./kernel.ts";
import { type Block, kernel } from "./language/block.ts";
import {
  add,
  bitAnd,
  constant,
  i32,
  lessThan,
  load,
  min,
  mul,
  offset,
  rem,
  sub,
} from "./language/language.ts";
import type { Expr, KernelCode, Lanes } from "./language/syntax.ts";
import { at, eachPlace, F32, FOUR, type Index, type Pointer } from "./language/vectors.ts";
import { anyWeightRow, expandRow } from "./weights/rows.ts";

/** What an embedding kernel is made for: a table [vocabulary, width] and so many ids. */
export interface EmbeddingShape {
  readonly vocabulary: number;
  readonly width: number;
  readonly tokens: number;
  /** How the table is stored where it is not f32. */
  readonly weight?: WeightDType;
}

/** Work items of the gradient: enough for the threads there are, few enough to scan ids for. */
const GRADIENT_ITEMS = 64;

/** Whether an id names a row of the table. */
function exists(id: Index, vocabulary: number): Expr<"i32"> {
  return bitAnd(lessThan(i32(-1), id), lessThan(id, i32(vocabulary)));
}

/**
 * Operands table, ids (i32) → rows [tokens, width]. An id that is not in the table gives NaN, which
 * nothing that is computed from it can hide.
 */
export function embedding(shape: EmbeddingShape): Kernel {
  const { width, tokens, weight } = shape;
  return {
    key: `embedding ${JSON.stringify(shape)}`,
    code: (lanes) => embeddingCode(shape, lanes),
    items: tokens,
    scratchBytes: 0,
    flops: 0,
    bytes: tokens * (tensorBytes([width], weight ?? "f32") + (width + 1) * F32),
  };
}

function embeddingCode(
  { vocabulary, width, weight }: EmbeddingShape,
  lanes: Lanes,
): KernelCode {
  const row = width * F32;
  const matrix = weight && { dtype: weight, rows: vocabulary, columns: width };
  return kernel("embedding", {
    ...{ table: "ptr", ids: "ptr", rows: "ptr" } as const,
    ...{ scratch: "ptr", begin: "i32", end: "i32" } as const,
  }, (k, args) => {
    k.for(args.begin, args.end, 1, (token) => {
      const id = k.let(load("i32", at(args.ids, token, 4)));
      const to = k.let(at(args.rows, token, row));
      k.if(
        exists(id, vocabulary),
        () => {
          if (matrix === undefined) k.copy(at(args.table, id, row), to, row);
          else {
            anyWeightRow(k, matrix, args.table, id, (source) => {
              expandRow(k, matrix.dtype, source, i32(0), i32(width), to);
            });
          }
        },
        () => k.for(0, width, 1, (i) => k.store(constant("f32", NaN), at(to, i, F32))),
      );
    });
  }, lanes);
}

/**
 * Operands gradient [tokens, width], ids (i32) → gradient of the table. Each row sums its tokens in
 * their order; ids that are not in the table are skipped. Item i owns rows i, i + 64, i + 128, …, so
 * that the frequent first ids of a vocabulary are spread over the items.
 */
export function embeddingGradient(shape: EmbeddingShape): Kernel {
  const { vocabulary, width, tokens } = shape;
  return {
    key: `embedding_gradient ${JSON.stringify(shape)}`,
    code: () => embeddingGradientCode(shape),
    items: Math.min(GRADIENT_ITEMS, vocabulary),
    scratchBytes: 0,
    flops: tokens * width,
    bytes: (vocabulary * width + tokens * (2 * width + 1)) * F32,
  };
}

function embeddingGradientCode({ vocabulary, width, tokens }: EmbeddingShape): KernelCode {
  const row = width * F32;
  const items = Math.min(GRADIENT_ITEMS, vocabulary);
  return kernel("embedding_gradient", {
    ...{ gradient: "ptr", ids: "ptr", table: "ptr" } as const,
    ...{ scratch: "ptr", begin: "i32", end: "i32" } as const,
  }, (k, { gradient, ids, table, begin, end }) => {
    k.for(0, vocabulary, items, (period) => {
      const first = k.let(add(period, begin));
      const after = k.let(min(add(period, end), i32(vocabulary)));
      k.if(lessThan(first, after), () => {
        k.zero(at(table, first, row), mul(sub(after, first), i32(row)));
      });
    });
    k.for(0, tokens, 1, (token) => {
      const id = k.let(load("i32", at(ids, token, 4)));
      const item = k.let(rem(id, i32(items)));
      const owned = bitAnd(lessThan(item, end), lessThan(sub(begin, i32(1)), item));
      k.if(bitAnd(exists(id, vocabulary), owned), () => {
        addRow(k, width, k.let(at(gradient, token, row)), k.let(at(table, id, row)));
      });
    });
  });
}

/** to += from, a row of a width. */
function addRow(k: Block, width: number, from: Pointer, to: Pointer): void {
  const vectors = Math.floor(width / 4);
  eachPlace(k, vectors, 8, [[from, FOUR], [to, FOUR]], ([x, y], [i, j]) => {
    k.store(add(load("f32x4", x, i), load("f32x4", y, j)), y, j);
  });
  for (let i = vectors * 4; i < width; i++) {
    const [x, y] = [from, to].map((row) => offset(row, i * F32));
    k.store(add(load("f32", x), load("f32", y)), y);
  }
}
