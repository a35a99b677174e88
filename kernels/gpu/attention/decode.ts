/**
 * Attention of one token over a cache of keys and values that grows in place: the cache is cut into
 * parts, which groups walk at the same time for all query heads of a key/value head, and what they
 * found is put together by a second kernel (Dao et al., Flash-Decoding).
 */

import { checkCached } from "../../attention/cached.ts";
import type { GpuCachedAttentionShape } from "./cached.ts";
import { type DecodeShape, foundSize, KEYS, partsCode } from "./decode_parts.ts";
import { PARTS, wholeCode } from "./decode_whole.ts";
import type { GpuKernel } from "../kernel.ts";

/** A shape, and how its cache is cut. */
function decodeShape(shape: GpuCachedAttentionShape): DecodeShape {
  const keys = KEYS * Math.ceil(shape.capacity / KEYS / PARTS);
  return { ...shape, parts: { count: Math.ceil(shape.capacity / keys), keys } };
}

/** Both kernels, and bytes of what the first hands to the second. */
export interface DecodeAttention {
  /** Operands q, k, v, keys, values, start → what is found. */
  readonly parts: GpuKernel;
  /** Operands start, what is found → output. */
  readonly whole: GpuKernel;
  readonly foundBytes: number;
}

/** Attention of one token of each text. */
export function decodeAttention(shape: GpuCachedAttentionShape): DecodeAttention {
  checkCached(shape);
  const { batch, heads, kvHeads, width, capacity } = shape;
  const cut = decodeShape(shape);
  const { parts } = cut;
  const found = 4 * batch * heads * parts.count * foundSize(width);
  return {
    foundBytes: found,
    parts: {
      key: `decode_attention ${JSON.stringify(shape)}`,
      groups: batch * kvHeads * parts.count,
      flops: 4 * batch * heads * capacity * width,
      bytes: 4 * batch * (2 * kvHeads * (capacity + 1) + heads) * width + found,
      inPlace: [3, 4],
      code: () => partsCode(cut),
    },
    whole: {
      key: `decode_attention_whole ${JSON.stringify(shape)}`,
      groups: batch * heads,
      flops: 2 * batch * heads * parts.count * width,
      bytes: found + 4 * batch * heads * width,
      code: () => wholeCode(cut),
    },
  };
}
