/**
 * The RWKV-7 recurrence S ← S·diag(w) − (S·κᵀ)(a⊙κ) + vᵀk, y = S·r (paper, RAD-RWKV7).
 *
 * Rows of S do not depend on one another. So a few of them are taken through a whole chunk of
 * tokens while they stay in the nearest cache, and one pass over a row does everything that a token
 * needs: the update, y, and S·κᵀ of the next token. Nothing is divided by the decay, so that it may
 * be 0. An element of S takes one multiplication and four fused ones a token.
 */

import { WKV_CHUNK } from "../../graph/build.ts";
import { contiguousLayout, type Kernel, type OperandLayout } from "../kernel.ts";
import { type Block, kernel } from "../language/block.ts";
import {
  add,
  div,
  equal,
  fma,
  i32,
  lane,
  load,
  min,
  mul,
  neg,
  offset,
  rem,
  splat,
  sub,
} from "../language/language.ts";
import type { KernelCode, Lanes, ValueType } from "../language/syntax.ts";
import {
  advance,
  at,
  eachPlace,
  F32,
  type HeadOperand,
  headOperand,
  type Index,
  lanesFor,
  type Pointer,
  sums,
  type V,
  variable,
  zeros,
} from "../language/vectors.ts";
import { checkWidth, chunkTokens, headOperands, partsOf, type WkvShape } from "./wkv.ts";

/** Inputs in the order of the operands. */
export const WKV7_INPUTS = ["r", "w", "k", "v", "kappa", "a"] as const;
export type Wkv7Name = typeof WKV7_INPUTS[number];

/** What a WKV7 kernel is made for. */
export type Wkv7Shape = WkvShape<Wkv7Name>;

/** Rows of the state that go through a chunk together, in pairs. */
const GROUP = 4;

/** The fewest rows that a head's state is divided into. */
const FEWEST_ROWS = 16;

/**
 * A chunk's tokens in scratch memory: for every token, and every vector of the width, five vectors
 * w, −a⊙κ, k, κ, r one after another.
 */
const FIELDS = { w: 0, b: 1, k: 2, kappa: 3, r: 4 };

/** Bytes of a token's record. */
const recordBytes = (width: number) => 5 * width * F32;

/** Writes the records of tokens 0 … count−1, given pointers to the first one's rows. */
function writeRecords(
  k: Block,
  width: number,
  operands: Record<Wkv7Name, HeadOperand>,
  rows: Readonly<Record<Wkv7Name, Pointer>>,
  count: Index | number,
  records: Pointer,
): void {
  const names = ["w", "k", "kappa", "r", "a"] as const;
  const tokens = names.map((name) => variable(k, rows[name]));
  const record = variable(k, records);
  k.for(0, count, 1, () => {
    const moves = tokens.map((token) => [token, k.vectorBytes] as const);
    const places = [...moves, [record, 5 * k.vectorBytes]] as const;
    eachPlace(k, width / k.lanes, 4, places, (pointers, offsets) => {
      const [w, key, kappa, r, a] = names.map((_, i) =>
        k.let(load(k.vector, pointers[i], offsets[i]))
      );
      const put = (value: V, field: keyof typeof FIELDS) =>
        k.store(value, pointers[5], offsets[5] + FIELDS[field] * k.vectorBytes);
      put(w, "w");
      put(neg(mul(a, kappa)), "b");
      put(key, "k");
      put(kappa, "kappa");
      put(r, "r");
    });
    advance(k, [
      ...names.map((name, i) => [tokens[i], operands[name].timeStride] as const),
      [record, recordBytes(width)],
    ]);
  });
}

/** u = S·κᵀ of a group of rows before its first token, on the way copying the rows. */
function startRows(
  k: Block,
  width: number,
  from: Pointer,
  to: Pointer,
  record: Pointer,
  u: Pointer,
): void {
  const row = width * F32;
  const dots = zeros(k, GROUP);
  const bytes = k.vectorBytes;
  const moves = [[from, bytes], [to, bytes], [record, 5 * bytes]] as const;
  eachPlace(k, width / k.lanes, 4, moves, ([x, y, token], [i, j, place]) => {
    const kappa = k.let(load(k.vector, token, place + FIELDS.kappa * bytes));
    dots.forEach((dot, n) => {
      const state = k.let(load(k.vector, x, i + n * row));
      k.store(state, y, j + n * row);
      k.set(dot, fma(state, kappa, dot));
    });
  });
  k.store(sums(k, dots[0], dots[1], dots[2], dots[3]), u);
}

/** The scalars of two rows as vectors. */
function pairOf(k: Block, from: Pointer, bytes: number): [V, V] {
  return [
    k.let(splat(load("f32", from, bytes), k.vector)),
    k.let(splat(load("f32", from, bytes + F32), k.vector)),
  ];
}

/**
 * Takes two rows through one token: S ← S⊙w + u·b + v·k, in place; returns the sums y = S·r and,
 * with κ of the next token, u = S·κ.
 */
function stepPair(
  k: Block,
  width: number,
  state: Pointer,
  record: Pointer,
  u: readonly [V, V],
  v: readonly [V, V],
): { u: [V, V]; y: [V, V] } {
  const row = width * F32;
  const [u0, u1, y0, y1] = zeros(k, 4);
  const moves = [[state, k.vectorBytes], [record, 5 * k.vectorBytes]] as const;
  eachPlace(k, width / k.lanes, 8, moves, ([s, token], [i, place]) => {
    const field = (name: keyof typeof FIELDS, later = 0) =>
      k.let(load(k.vector, token, later + place + FIELDS[name] * k.vectorBytes));
    const [w, b, key] = [field("w"), field("b"), field("k")];
    const next = [0, 1].map((n) => {
      const decayed = mul(load(k.vector, s, i + n * row), w);
      const value = k.let(fma(v[n], key, fma(u[n], b, decayed)));
      k.store(value, s, i + n * row);
      return value;
    });
    const r = field("r");
    k.set(y0, fma(next[0], r, y0));
    k.set(y1, fma(next[1], r, y1));
    const kappa = field("kappa", recordBytes(width));
    k.set(u0, fma(next[0], kappa, u0));
    k.set(u1, fma(next[1], kappa, u1));
  });
  return { u: [u0, u1], y: [y0, y1] };
}

/**
 * Operands r, w, k, v, kappa, a, state → y, state and, with `keepStates`, the states before every
 * chunk [batch, heads, chunks, width, width]. The two states may be one memory. `y` tells how y
 * lies, contiguous where it is missing.
 */
export function wkv7(shape: Wkv7Shape & { keepStates: boolean; y?: OperandLayout }): Kernel {
  const { batch, time, heads, width, inputs, keepStates } = shape;
  checkWidth("wkv7", width);
  const yLayout = shape.y ?? contiguousLayout([batch, time, heads, width]);
  const parts = partsOf(batch * heads, width, GROUP, FEWEST_ROWS);
  const elements = batch * heads * width * width;
  const chunks = Math.ceil(time / WKV_CHUNK);
  return {
    key: `wkv7 ${JSON.stringify([batch, time, heads, width, inputs, keepStates, yLayout])}`,
    code: (most) => wkv7Code({ ...shape, y: yLayout, parts }, lanesFor(most, width)),
    items: batch * heads * parts,
    scratchBytes: (WKV_CHUNK + 1) * recordBytes(width) + width * F32,
    ...(time === 1 && { streams: { operand: 6, itemBytes: width * width * F32 / parts } }),
    flops: 9 * elements * time,
    bytes: F32 * (7 * batch * time * heads * width + (2 + (keepStates ? chunks : 0)) * elements),
  };
}

function wkv7Code(
  shape: Wkv7Shape & { keepStates: boolean; y: OperandLayout; parts: number },
  lanes: Lanes,
): KernelCode {
  const { time, heads, width, inputs, keepStates, parts } = shape;
  const chunks = Math.ceil(time / WKV_CHUNK);
  const row = width * F32;
  const rows = width / parts;
  const all = {
    ...{ r: "ptr", w: "ptr", k: "ptr", v: "ptr", kappa: "ptr", a: "ptr", before: "ptr" },
    ...{ y: "ptr", after: "ptr", kept: "ptr", scratch: "ptr", begin: "i32", end: "i32" },
  } as const satisfies Record<string, ValueType>;
  const { kept: _, ...others } = all;
  const parameters = (keepStates ? all : others) as typeof all;
  return kernel("wkv7", parameters, (k, args) => {
    const operands = headOperands("wkv7", args, inputs);
    const output = headOperand("wkv7 y", args.y, shape.y);
    const records = args.scratch;
    const us = k.let(offset(args.scratch, (WKV_CHUNK + 1) * recordBytes(width)));
    k.for(args.begin, args.end, 1, (item) => {
      const index = k.let(div(item, i32(parts)));
      const [b, h] = [k.let(div(index, i32(heads))), k.let(rem(index, i32(heads)))];
      const firstRow = k.let(mul(rem(item, i32(parts)), i32(rows)));
      const ofHead = (base: Pointer) => at(at(base, index, width * row), firstRow, row);
      const [before, after] = [k.let(ofHead(args.before)), k.let(ofHead(args.after))];
      const kept = keepStates
        ? variable(k, at(at(args.kept, index, chunks * width * row), firstRow, row))
        : undefined;
      const tokens = Object.fromEntries(
        WKV7_INPUTS.map((name) => [name, variable(k, operands[name].row(b, h))]),
      ) as Record<Wkv7Name, Pointer>;
      k.set(tokens.v, at(tokens.v, firstRow, F32));
      const yTokens = variable(k, at(output.row(b, h), firstRow, F32));
      k.for(0, chunks, 1, (chunk) => {
        const first = k.let(mul(chunk, i32(WKV_CHUNK)));
        const count = chunkTokens(time, first);
        const length = typeof count === "number" ? i32(count) : k.let(count);
        // The first token of the next chunk is there as well, for its κ.
        const withNext = k.let(min(add(length, i32(1)), sub(i32(time), first)));
        writeRecords(k, width, operands, tokens, withNext, records);
        // Behind the last token nobody needs u, but what lies there is read: as f32, whole numbers
        // of another kernel are so small that each product with one takes a hundred times as long.
        k.if(equal(withNext, length), () => {
          k.zero(at(records, length, recordBytes(width)), recordBytes(width));
        });
        k.for(0, rows, GROUP, (group) => {
          const state = k.let(at(after, group, row));
          const u = k.let(at(us, group, F32));
          k.if(equal(chunk, i32(0)), () => {
            startRows(k, width, k.let(at(before, group, row)), state, records, u);
          });
          if (kept !== undefined) {
            k.copy(state, at(kept, group, row), GROUP * row);
          }
          const v = variable(k, at(tokens.v, group, F32));
          const y = variable(k, at(yTokens, group, F32));
          const record = variable(k, records);
          k.for(0, length, 1, () => {
            for (let pair = 0; pair < GROUP / 2; pair++) {
              const bytes = pair * 2 * F32;
              const rowsAt = offset(state, pair * 2 * row);
              const [us2, vs2] = [pairOf(k, u, bytes), pairOf(k, v, bytes)];
              const next = stepPair(k, width, rowsAt, record, us2, vs2);
              const all = sums(k, next.y[0], next.y[1], next.u[0], next.u[1]);
              [y, u].forEach((to, i) => {
                k.store(lane(all, 2 * i), to, bytes);
                k.store(lane(all, 2 * i + 1), to, bytes + F32);
              });
            }
            advance(k, [
              [record, recordBytes(width)],
              [v, operands.v.timeStride],
              [y, output.timeStride],
            ]);
          });
        });
        if (chunks > 1) {
          advance(k, [
            ...WKV7_INPUTS.map((name) =>
              [tokens[name], WKV_CHUNK * operands[name].timeStride] as const
            ),
            [yTokens, WKV_CHUNK * output.timeStride],
            ...(kept === undefined ? [] : [[kept, width * row] as const]),
          ]);
        }
      });
    });
  }, lanes);
}
