/**
 * Products of the states before a chunk, and of dS after it, with the values of the chunk's tokens
 * (chunks.ts): what the gradients by keys are made of. A group has a chunk, and 64 keys of it.
 */

import { WKV_CHUNK } from "../../../graph/build.ts";
import { add, div, fma, i32, lessThan, mul, rem, select } from "../../language/language.ts";
import { gpuKernel, type OperandTypes } from "../block.ts";
import { headRows, type HeadStrides } from "../heads.ts";
import type { GpuKernel } from "../kernel.ts";
import { f32, type Index } from "../language.ts";
import { TILE_THREADS } from "../matmul/products.ts";
import {
  allChunks,
  chunkToken,
  count,
  type GpuChunkedShape,
  groupChunk,
  ifInside,
  inside,
  type Places,
  position,
  type ReadToken,
  removes,
} from "./chunks.ts";
import { valuesFirst } from "./scan.ts";
import { GROUP_COLUMNS } from "./values.ts";

/** Values that lie in shared memory together. */
const SLAB = 16;

/** Lines of tokens: what multiplies the state before, then what multiplies dS after. */
const lineNames = (shape: GpuChunkedShape) =>
  removes(shape) ? ["dy", "du", "v", "u"] as const : ["dy", "v"] as const;

/** Lines of tokens. */
export const linesOf = (shape: GpuChunkedShape): number => lineNames(shape).length;

/** Pairs of lines, the first of a later token and the second of an earlier one: dy·v, dy·u, du·v, du·u. */
export const gramsOf = (shape: GpuChunkedShape): number => (linesOf(shape) / 2) ** 2;

/**
 * The kernel. Operands: states before the chunks, dS after them [value, key], v, dy and, where tokens
 * remove, u and du → by chunks: S₀ᵀ·dy, S₀ᵀ·du, dSᵀ·v, dSᵀ·u [lines, tokens, keys]; Σ over values of
 * S₀⊙dS [keys]; the pairs' products [pairs, later token, token].
 */
export function wkvStateProducts(shape: GpuChunkedShape, dy: HeadStrides): GpuKernel {
  const { width } = shape;
  const chunks = allChunks(shape);
  const lines = linesOf(shape) * WKV_CHUNK;
  const grams = gramsOf(shape) * WKV_CHUNK * WKV_CHUNK;
  return {
    key: `wkv_state_products ${JSON.stringify([shape, dy])}`,
    code: () => code(shape, dy),
    groups: chunks * Math.ceil(width / GROUP_COLUMNS),
    flops: chunks * width * (2 * (lines + 1) * width + 2 * grams),
    bytes: 4 * chunks * (2 * width * width + 2 * lines * width + grams),
  };
}

function code(shape: GpuChunkedShape, dyLayout: HeadStrides) {
  const { width, inputs } = shape;
  const names = lineNames(shape);
  const operands: OperandTypes = {
    ...{ states: "f32", dStates: "f32", v: "f32", dy: "f32" },
    ...(removes(shape) ? { solved: "f32" } : {}),
    ...{ products: "+f32", dots: "+f32", grams: "+f32" },
  };
  return gpuKernel("wkv_state_products", TILE_THREADS, operands, (k, all) => {
    const places = all as Places;
    const { head, index, first, part } = groupChunk(k, shape, Math.ceil(width / GROUP_COLUMNS));
    const solved = (which: number): ReadToken => (token, value) =>
      k.read(
        places.solved,
        position([index, 2 * WKV_CHUNK * width], [i32(which * WKV_CHUNK), width], [token, width], [
          value,
          1,
        ]),
      );
    const tokens = {
      dy: chunkToken(k, shape, headRows(k, places.dy, dyLayout, head.b, head.h), first),
      v: chunkToken(k, shape, headRows(k, places.v, inputs.v, head.b, head.h), first),
      u: solved(0),
      du: solved(1),
    };
    const [pitch, linePitch] = [GROUP_COLUMNS + 1, names.length * WKV_CHUNK + 4];
    const [before, after] = [0, 1].map(() => k.shared("f32", SLAB * pitch));
    const lines = k.shared("f32", SLAB * linePitch);
    const own = k.let(rem(k.thread, i32(GROUP_COLUMNS)));
    const firstKey = k.let(mul(part, i32(GROUP_COLUMNS)));
    const each = WKV_CHUNK * GROUP_COLUMNS / TILE_THREADS;
    const firstToken = k.let(mul(div(k.thread, i32(GROUP_COLUMNS)), i32(each)));
    const sums = names.map(() => count(each).map(() => k.variable(f32(0))));
    const dot = k.variable(f32(0));
    const [later, token] = [
      k.let(div(k.thread, i32(WKV_CHUNK))),
      k.let(rem(k.thread, i32(WKV_CHUNK))),
    ];
    const half = names.length / 2;
    const grams = count(half * half).map(() => k.variable(f32(0)));

    k.for(0, width, SLAB, (from) => {
      const stage = (byValues: boolean, run: (value: Index, key: Index, to: Index) => void) => {
        for (let begin = 0; begin < SLAB * GROUP_COLUMNS; begin += TILE_THREADS) {
          const at = k.let(add(k.thread, i32(begin)));
          const [value, key] = byValues
            ? [k.let(div(at, i32(GROUP_COLUMNS))), own]
            : [k.let(rem(at, i32(SLAB))), k.let(div(at, i32(SLAB)))];
          run(
            k.let(add(from, value)),
            inside(k, k.let(add(firstKey, key)), width, GROUP_COLUMNS),
            k.let(position([value, pitch], [key, 1])),
          );
        }
      };
      stage(valuesFirst(shape), (value, key, to) => {
        const known = inside(k, value, width, SLAB);
        const at = valuesFirst(shape)
          ? position([known, width], [key, 1])
          : position([key, width], [known, 1]);
        const element = k.read(places.states, add(mul(index, i32(width * width)), at));
        const exists = width % SLAB === 0
          ? element
          : select(lessThan(value, i32(width)), element, f32(0));
        k.write(before, to, exists);
      });
      stage(true, (value, key, to) => {
        const known = inside(k, value, width, SLAB);
        const at = position([index, width * width], [known, width], [key, 1]);
        k.write(after, to, k.read(places.dStates, at));
      });
      const lane = k.let(rem(k.thread, i32(SLAB)));
      const line = k.let(div(k.thread, i32(SLAB)));
      const value = k.let(add(from, lane));
      const known = inside(k, value, width, SLAB);
      names.forEach((name, i) => {
        const element = tokens[name](line, known);
        const exists = width % SLAB === 0
          ? element
          : select(lessThan(value, i32(width)), element, f32(0));
        k.write(lines, position([lane, linePitch], [line, 1], [i32(i), WKV_CHUNK]), exists);
      });
      k.barrier();
      k.for(0, SLAB, 2, (begin) => {
        for (let i = 0; i < 2; i++) {
          const step = k.let(add(begin, i32(i)));
          const [s, d] = [before, after].map((matrix) =>
            k.read(matrix, position([step, pitch], [own, 1]))
          );
          k.set(dot, fma(s, d, dot));
          const at = k.let(position([step, linePitch], [firstToken, 1]));
          sums.forEach((line, n) =>
            line.forEach((sum, i) => {
              const factor = k.read(lines, add(at, i32(n * WKV_CHUNK + i)));
              k.set(sum, fma(factor, n < half ? s : d, sum));
            })
          );
          const begins = k.let(mul(step, i32(linePitch)));
          const of = (name: number, token: Index) =>
            k.read(lines, add(add(begins, i32(name * WKV_CHUNK)), token));
          const [laters, tokens] = [0, half].map((from) =>
            count(half).map((i) => of(from + i, from === 0 ? later : token))
          );
          grams.forEach((sum, pair) => {
            k.set(sum, fma(laters[Math.floor(pair / half)], tokens[pair % half], sum));
          });
        }
      });
      k.barrier();
    });

    const key = k.let(add(firstKey, own));
    ifInside(k, key, width, GROUP_COLUMNS, () => {
      sums.forEach((line, n) =>
        line.forEach((sum, i) => {
          const row = add(firstToken, i32(n * WKV_CHUNK + i));
          const at = position([index, names.length * WKV_CHUNK * width], [row, width], [key, 1]);
          k.write(places.products, at, sum);
        })
      );
      k.if(lessThan(k.thread, i32(GROUP_COLUMNS)), () => {
        k.write(places.dots, position([index, width], [key, 1]), dot);
      });
    });
    k.if(lessThan(part, i32(1)), () => {
      grams.forEach((sum, pair) => {
        const table = WKV_CHUNK * WKV_CHUNK;
        const at = position([index, grams.length * table], [k.thread, 1]);
        k.write(places.grams, add(at, i32(pair * table)), sum);
      });
    });
  });
}
