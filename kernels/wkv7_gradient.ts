/**
 * Gradient of the RWKV-7 recurrence.
 *
 * From the last chunk to the first, a few rows of S at a time: the states of a chunk are computed
 * again from the one that was kept before it, then one pass a token, from the last to the first,
 * does all that the token needs. With G the gradient of the state after a token, u = S·κᵀ of the
 * state before it and b = −a⊙κ:
 *
 *     G ← G·diag(w′) + du′κ′ + dyᵀr  (′: of the token after it)     du = G·b, dv = G·k
 *     dk = v·G, db = u·G, dw = Σ G⊙S before, dr = dy·S after, dκ′ = du′·S after
 *
 * The sums over rows gather in records of their own. 28 floating-point operations an element of S
 * and token.
 */

import { WKV_CHUNK } from "../graph/build.ts";
import { contiguousLayout, type Kernel, type OperandLayout } from "./kernel.ts";
import {
  add,
  type Block,
  constant,
  div,
  type Expr,
  fma,
  i32,
  kernel,
  type KernelCode,
  lane,
  load,
  mul,
  neg,
  offset,
  rem,
  sub,
  type ValueType,
} from "./language.ts";
import {
  advance,
  at,
  eachPlace,
  F32,
  type HeadOperand,
  headOperand,
  type Pointer,
  sums,
  type V4,
  variable,
  VECTOR,
  zeros,
} from "./vectors.ts";
import {
  checkWidth,
  chunkTokens,
  FIELDS,
  GROUP,
  pairOf,
  PLACE,
  recordBytes,
  startRows,
  stepPair,
  type Wkv7Layouts,
  wkv7Operands,
  type Wkv7Shape,
  writeRecords,
} from "./wkv7.ts";

/**
 * The sums over rows, as in the records of inputs: for every token and vector, five vectors dk, db,
 * dw, dr, dκ one after another.
 */
const SUMS = { k: 0, b: VECTOR, w: 2 * VECTOR, r: 3 * VECTOR, kappa: 4 * VECTOR };

/** Gradients in the order of the operands. */
const GRADIENTS = ["r", "w", "k", "v", "kappa", "a"] as const;
type Gradients = Record<typeof GRADIENTS[number], HeadOperand>;

/**
 * Operands r, w, k, v, kappa, a, chunk states, dy, dstate → dr, dw, dk, dv, dkappa, da, dstate. The
 * two dstates may be one memory. `dy` tells how dy lies, contiguous where it is missing.
 */
export function wkv7Gradient(shape: Wkv7Shape & { dy?: OperandLayout }): Kernel {
  const { batch, time, heads, width, inputs } = shape;
  checkWidth("wkv7_gradient", width);
  const dy = shape.dy ?? contiguousLayout([batch, time, heads, width]);
  const elements = batch * heads * width * width;
  const tokens = batch * time * heads * width;
  return {
    key: `wkv7_gradient ${JSON.stringify([batch, time, heads, width, inputs, dy])}`,
    code: () => wkv7GradientCode({ ...shape, dy }),
    items: batch * heads,
    scratchBytes: scratchPlaces(width).bytes,
    flops: 28 * elements * time,
    bytes: F32 * (13 * tokens + (Math.ceil(time / WKV_CHUNK) + 2) * elements),
  };
}

/** Where in scratch memory things lie, in bytes. */
function scratchPlaces(width: number) {
  const records = 0;
  const totals = records + (WKV_CHUNK + 1) * recordBytes(width);
  const states = totals + (WKV_CHUNK + 1) * recordBytes(width);
  const us = states + (WKV_CHUNK + 1) * GROUP * width * F32;
  const du = us + (WKV_CHUNK + 1) * VECTOR;
  return { records, totals, states, us, du, bytes: du + VECTOR };
}

function wkv7GradientCode(shape: Wkv7Shape & { dy: OperandLayout }): KernelCode {
  const { batch, time, heads, width, inputs } = shape;
  const chunks = Math.ceil(time / WKV_CHUNK);
  const row = width * F32;
  const record = recordBytes(width);
  const groupBytes = GROUP * row;
  const parameters = {
    ...{ r: "ptr", w: "ptr", k: "ptr", v: "ptr", kappa: "ptr", a: "ptr" },
    ...{ kept: "ptr", dy: "ptr", dAfter: "ptr" },
    ...{ dr: "ptr", dw: "ptr", dk: "ptr", dv: "ptr", dkappa: "ptr", da: "ptr", dBefore: "ptr" },
    ...{ scratch: "ptr", begin: "i32", end: "i32" },
  } as const satisfies Record<string, ValueType>;
  return kernel("wkv7_gradient", parameters, (k, args) => {
    const operands = wkv7Operands(args, inputs);
    const gradientLayout = contiguousLayout([batch, time, heads, width]);
    const gradients = Object.fromEntries(
      GRADIENTS.map((name) => [
        name,
        headOperand(`wkv7_gradient d${name}`, args[`d${name}`], gradientLayout),
      ]),
    ) as Gradients;
    const dyOperand = headOperand("wkv7_gradient dy", args.dy, shape.dy);
    const places = scratchPlaces(width);
    const scratch = (bytes: number) => k.let(offset(args.scratch, bytes));
    const [records, totals, states] = [
      args.scratch,
      scratch(places.totals),
      scratch(places.states),
    ];
    const [us, du] = [scratch(places.us), scratch(places.du)];
    k.for(args.begin, args.end, 1, (item) => {
      const [b, h] = [k.let(div(item, i32(heads))), k.let(rem(item, i32(heads)))];
      const gradient = k.let(at(args.dBefore, item, width * row));
      k.copy(at(args.dAfter, item, width * row), gradient, width * row);
      k.for(0, chunks, 1, (back) => {
        const chunk = k.let(sub(i32(chunks - 1), back));
        const first = k.let(mul(chunk, i32(WKV_CHUNK)));
        const count = chunkTokens(time, first);
        const length = typeof count === "number" ? i32(count) : k.let(count);
        const last = k.let(sub(length, i32(1)));
        const tokensOf = (operand: HeadOperand) =>
          k.let(at(operand.row(b, h), first, operand.timeStride));
        const rows = Object.fromEntries(
          GRADIENTS.map((name) => [name, tokensOf(operands[name])]),
        ) as Record<keyof Wkv7Layouts, Pointer>;
        const dRows = Object.fromEntries(
          GRADIENTS.map((name) => [name, tokensOf(gradients[name])]),
        ) as Record<keyof Wkv7Layouts, Pointer>;
        const dyRows = tokensOf(dyOperand);
        writeRecords(k, width, operands, rows, length, records);
        endRecord(k, width, k.let(at(records, length, record)));
        k.zero(totals, mul(add(length, i32(1)), i32(record)));
        const kept = k.let(at(at(args.kept, item, chunks * width * row), chunk, width * row));
        k.for(0, width, GROUP, (group) => {
          // The states of these rows, once more.
          startRows(k, width, k.let(at(kept, group, row)), states, records, us);
          const move = {
            record: variable(k, records),
            state: variable(k, states),
            u: variable(k, us),
            v: variable(k, at(rows.v, group, F32)),
          };
          k.for(0, length, 1, () => {
            for (let pair = 0; pair < GROUP / 2; pair++) {
              const bytes = pair * 2 * F32;
              const state = offset(move.state, pair * 2 * row);
              const [u, v] = [pairOf(k, move.u, bytes), pairOf(k, move.v, bytes)];
              const { u: next } = stepPair(k, width, state, groupBytes, move.record, u, v, false);
              const all = sums(k, next[0], next[1], next[0], next[1]);
              k.store(lane(all, 0), move.u, VECTOR + bytes);
              k.store(lane(all, 1), move.u, VECTOR + bytes + F32);
            }
            advance(k, [
              [move.record, record],
              [move.state, groupBytes],
              [move.u, VECTOR],
              [move.v, operands.v.timeStride],
            ]);
          });
          // And back.
          k.store(constant("f32x4", 0), du);
          const rowsGradient = k.let(at(gradient, group, row));
          const ofGroup = (rows: Pointer, { timeStride }: HeadOperand) =>
            variable(k, at(at(rows, group, F32), last, timeStride));
          const backMove: BackwardPointers = {
            record: variable(k, at(records, last, record)),
            totals: variable(k, at(totals, last, record)),
            state: variable(k, at(states, last, groupBytes)),
            u: variable(k, at(us, last, VECTOR)),
            v: ofGroup(rows.v, operands.v),
            dy: ofGroup(dyRows, dyOperand),
            dv: ofGroup(dRows.v, gradients.v),
          };
          k.for(0, length, 1, () => {
            for (let pair = 0; pair < GROUP / 2; pair++) {
              stepBack(k, width, pair, backMove, rowsGradient, du);
            }
            advance(k, [
              [backMove.record, -record],
              [backMove.totals, -record],
              [backMove.state, -groupBytes],
              [backMove.u, -VECTOR],
              [backMove.v, -operands.v.timeStride],
              [backMove.dy, -dyOperand.timeStride],
              [backMove.dv, -gradients.v.timeStride],
            ]);
          });
          for (let pair = 0; pair < GROUP / 2; pair++) {
            beforeChunk(k, width, pair, records, totals, states, rowsGradient, du);
          }
        });
        writeGradients(k, width, length, totals, rows, dRows, operands, gradients);
      });
    });
  });
}

/** A record after the last token that changes nothing: w = 1, κ = 0. */
function endRecord(k: Block, width: number, record: Pointer): void {
  eachPlace(k, width / 4, 4, [[record, PLACE]], ([to], [place]) => {
    k.store(constant("f32x4", 1), to, place + FIELDS.w);
    k.store(constant("f32x4", 0), to, place + FIELDS.kappa);
  });
}

interface BackwardPointers {
  readonly record: Pointer;
  readonly totals: Pointer;
  readonly state: Pointer;
  readonly u: Pointer;
  readonly v: Pointer;
  readonly dy: Pointer;
  readonly dv: Pointer;
}

/** One token for a pair of rows: G and all sums. `du` is of the token after it, then of it. */
function stepBack(
  k: Block,
  width: number,
  pair: number,
  move: BackwardPointers,
  gradient: Pointer,
  du: Pointer,
): void {
  const row = width * F32;
  const bytes = pair * 2 * F32;
  const ahead = recordBytes(width);
  const [u, v, dy, duNext] = [move.u, move.v, move.dy, du].map((from) => pairOf(k, from, bytes));
  const [du0, du1, dv0, dv1] = zeros(k, 4);
  const moves = [
    [k.let(offset(move.state, pair * 2 * row)), VECTOR],
    [move.record, PLACE],
    [move.totals, PLACE],
    [k.let(offset(gradient, pair * 2 * row)), VECTOR],
  ] as const;
  eachPlace(k, width / 4, 4, moves, ([s, record, totals, g], [i, place, total, j]) => {
    const field = (bytes: number) => k.let(load("f32x4", record, place + bytes));
    const gather = (bytes: number, terms: readonly (readonly [V4, V4])[]) => {
      const to = total + bytes;
      const sum = terms.reduce<V4>((t, [x, y]) => fma(x, y, t), load("f32x4", totals, to));
      k.store(sum, totals, to);
    };
    const stateAt = (n: number) => load("f32x4", s, i + n * row);
    const [w, kappa, r] = [field(ahead + FIELDS.w), field(ahead + FIELDS.kappa), field(FIELDS.r)];
    const next = [0, 1].map((n) => {
      const decayed = mul(load("f32x4", g, j + n * row), w);
      const value = k.let(fma(dy[n], r, fma(duNext[n], kappa, decayed)));
      k.store(value, g, j + n * row);
      return value;
    });
    const b = field(FIELDS.b);
    k.set(du0, fma(next[0], b, du0));
    k.set(du1, fma(next[1], b, du1));
    const key = field(FIELDS.k);
    k.set(dv0, fma(next[0], key, dv0));
    k.set(dv1, fma(next[1], key, dv1));
    gather(SUMS.k, next.map((value, n) => [v[n], value] as const));
    gather(SUMS.b, next.map((value, n) => [u[n], value] as const));
    gather(SUMS.w, next.map((value, n) => [stateAt(n), value] as const));
    const after = [0, 1].map((n) => k.let(load("f32x4", s, i + n * row + GROUP * row)));
    gather(SUMS.r, after.map((state, n) => [dy[n], state] as const));
    gather(ahead + SUMS.kappa, after.map((state, n) => [duNext[n], state] as const));
  });
  const all = sums(k, du0, du1, dv0, dv1);
  [du, move.dv].forEach((to, i) => {
    k.store(lane(all, 2 * i), to, bytes);
    k.store(lane(all, 2 * i + 1), to, bytes + F32);
  });
}

/** What the first token of a chunk leaves to do: G of the state before it, and its dκ. */
function beforeChunk(
  k: Block,
  width: number,
  pair: number,
  records: Pointer,
  totals: Pointer,
  states: Pointer,
  gradient: Pointer,
  du: Pointer,
): void {
  const row = width * F32;
  const duFirst = pairOf(k, du, pair * 2 * F32);
  const moves = [
    [k.let(offset(states, pair * 2 * row)), VECTOR],
    [records, PLACE],
    [totals, PLACE],
    [k.let(offset(gradient, pair * 2 * row)), VECTOR],
  ] as const;
  eachPlace(k, width / 4, 4, moves, ([s, record, total, g], [i, place, to, j]) => {
    const [w, kappa] = [FIELDS.w, FIELDS.kappa].map((field) =>
      k.let(load("f32x4", record, place + field))
    );
    let sum = load("f32x4", total, to + SUMS.kappa);
    for (const n of [0, 1]) {
      const decayed = mul(load("f32x4", g, j + n * row), w);
      k.store(fma(duFirst[n], kappa, decayed), g, j + n * row);
      sum = fma(duFirst[n], load("f32x4", s, i + n * row), sum);
    }
    k.store(sum, total, to + SUMS.kappa);
  });
}

/** Writes a chunk's gradients from its sums: da = −db⊙κ, and dκ gets −db⊙a. */
function writeGradients(
  k: Block,
  width: number,
  length: Expr<"i32">,
  totals: Pointer,
  rows: Readonly<Record<keyof Wkv7Layouts, Pointer>>,
  dRows: Readonly<Record<keyof Wkv7Layouts, Pointer>>,
  operands: Readonly<Record<keyof Wkv7Layouts, HeadOperand>>,
  gradients: Gradients,
): void {
  const outputs = ["k", "w", "r", "kappa", "a"] as const;
  const total = variable(k, totals);
  const inputs = [variable(k, rows.kappa), variable(k, rows.a)];
  const to = outputs.map((name) => variable(k, dRows[name]));
  k.for(0, length, 1, () => {
    const moves = [
      [total, PLACE] as const,
      ...[...inputs, ...to].map((pointer) => [pointer, VECTOR] as const),
    ];
    eachPlace(k, width / 4, 4, moves, (pointers, offsets) => {
      const field = (bytes: number) => load("f32x4", pointers[0], offsets[0] + bytes);
      const [kappa, a] = [1, 2].map((i) => k.let(load("f32x4", pointers[i], offsets[i])));
      const minusDb = k.let(neg(field(SUMS.b)));
      const values: V4[] = [
        field(SUMS.k),
        field(SUMS.w),
        field(SUMS.r),
        fma(minusDb, a, field(SUMS.kappa)),
        mul(minusDb, kappa),
      ];
      values.forEach((value, i) => k.store(value, pointers[3 + i], offsets[3 + i]));
    });
    advance(k, [
      [total, recordBytes(width)],
      [inputs[0], operands.kappa.timeStride],
      [inputs[1], operands.a.timeStride],
      ...outputs.map((name, i) => [to[i], gradients[name].timeStride] as const),
    ]);
  });
}
