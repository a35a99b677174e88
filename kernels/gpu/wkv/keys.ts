/**
 * The gradients of a recurrence by keys: dr, dw, dk and, for RWKV-7, dκ and da (chunks.ts). For a
 * token t of a chunk, with G the gradient of the state after it,
 *
 *     G = dS·P(t, end) + Σ_τ≥t dy_τ r_τ·P(t, τ) + Σ_τ>t du_τ κ_τ·P(t, τ−1)
 *     dr = S afterᵀ·dy, dκ = S beforeᵀ·du − a⊙db, dk = Gᵀ·v, db = Gᵀ·u, da = −κ⊙db
 *     dw = Σ over values of G⊙S before
 *
 * What a later token τ asks of the state, Q = Sᵀ·dy_τ and R = Sᵀ·du_τ, is followed through the
 * tokens before it, so that dw is a sum over pairs of tokens. A thread has a key of a chunk, a group
 * 64.
 */

import { WKV_CHUNK } from "../../../graph/build.ts";
import {
  add,
  div,
  equal,
  fma,
  i32,
  lessThan,
  min,
  mul,
  neg,
  rem,
  select,
} from "../../language/language.ts";
import { gpuKernel, type OperandTypes } from "../block.ts";
import type { GpuKernel } from "../kernel.ts";
import { f32, type Float, type Index } from "../language.ts";
import { ownRows, rowsByName } from "./recurrence.ts";
import {
  allChunks,
  chunkToken,
  count,
  type GpuChunkedShape,
  groupChunk,
  type Places,
  position,
  putToken,
  removes,
} from "./chunks.ts";
import { readB } from "./scores.ts";
import { gramsOf, linesOf } from "./state_products.ts";
import { GROUP_COLUMNS } from "./values.ts";

const NAMES = ["r", "w", "k", "kappa", "a"] as const;
type Name = typeof NAMES[number];

/** Inputs whose gradients are written, in the order of the operands. */
export const keyInputs = (shape: GpuChunkedShape): readonly Name[] =>
  NAMES.filter((name) => shape.inputs[name] !== undefined);

/**
 * The kernel. Operands: r, w, k, and where there are, κ and a; products, dots and pairs of
 * wkvStateProducts → gradients of the former.
 */
export function wkvKeys(shape: GpuChunkedShape): GpuKernel {
  const { width } = shape;
  const chunks = allChunks(shape);
  const pairs = WKV_CHUNK * WKV_CHUNK;
  const tokens = keyInputs(shape).length * WKV_CHUNK;
  return {
    key: `wkv_keys ${JSON.stringify(shape)}`,
    code: () => code(shape),
    groups: chunks * Math.ceil(width / GROUP_COLUMNS),
    flops: chunks * width * pairs / 2 * (removes(shape) ? 26 : 8),
    bytes: 4 * chunks *
      (width * (2 * tokens + linesOf(shape) * WKV_CHUNK + 1) + gramsOf(shape) * pairs),
  };
}

function code(shape: GpuChunkedShape) {
  const { width, inputs } = shape;
  const names = keyInputs(shape);
  const removing = removes(shape);
  const lines = linesOf(shape);
  const grams = gramsOf(shape);
  const operands: OperandTypes = {
    ...Object.fromEntries(names.map((name) => [name, "f32" as const])),
    ...{ products: "f32", dots: "f32", grams: "f32" },
    ...Object.fromEntries(names.map((name) => [`d${name}`, "+f32" as const])),
  };
  return gpuKernel("wkv_keys", GROUP_COLUMNS, operands, (k, all) => {
    const places = all as Places;
    const { head, index, first, part } = groupChunk(k, shape, Math.ceil(width / GROUP_COLUMNS));
    const layouts = Object.fromEntries(names.map((name) => [name, inputs[name]!]));
    const rows = rowsByName(k, places, layouts, head);
    const token = (name: Name, missing = 0) => chunkToken(k, shape, rows[name], first, missing);
    const reads = {
      ...{ r: token("r"), w: token("w", 1), k: token("k") },
      ...(removing ? { kappa: token("kappa"), a: token("a") } : {}),
    };
    const readOfB = readB(k, reads);
    const putGradient = (name: Name) =>
      putToken(k, shape, ownRows(k, places[`d${name}`], { ...shape, inputs: {} }, head), first);

    const pairs = k.shared("f32", grams * WKV_CHUNK * WKV_CHUNK);
    const pairAt = (gram: number, later: Index, token: Index) =>
      position([later, grams * WKV_CHUNK], [i32(gram), WKV_CHUNK], [token, 1]);
    for (let begin = 0; begin < grams * WKV_CHUNK * WKV_CHUNK; begin += GROUP_COLUMNS) {
      const at = k.let(add(k.thread, i32(begin)));
      const gram = Math.floor(begin / (WKV_CHUNK * WKV_CHUNK));
      const later = rem(div(at, i32(WKV_CHUNK)), i32(WKV_CHUNK));
      const value = k.read(
        places.grams,
        position([index, grams * WKV_CHUNK * WKV_CHUNK], [at, 1]),
      );
      k.write(pairs, pairAt(gram, later, rem(at, i32(WKV_CHUNK))), value);
    }
    k.barrier();

    const column = k.let(add(mul(part, i32(GROUP_COLUMNS)), k.thread));
    const known = width % GROUP_COLUMNS === 0 ? column : k.let(min(column, i32(width - 1)));
    const product = (line: number, token: Index) =>
      k.read(
        places.products,
        add(
          position([index, lines * WKV_CHUNK * width], [token, width], [known, 1]),
          i32(line * WKV_CHUNK * width),
        ),
      );
    const asked = k.shared("f32", removing ? WKV_CHUNK * GROUP_COLUMNS : 1);
    const askedAt = (token: Index) => position([token, GROUP_COLUMNS], [k.thread, 1]);

    const each = count(WKV_CHUNK);
    const [ws, keys, bs] = [reads.w, reads.k, readOfB].map((read) =>
      read === undefined ? [] : each.map((token) => k.let(read(i32(token), known)))
    );
    const zeros = () => each.map(() => k.variable(f32(0)));
    const [dw, dk, db] = [zeros(), zeros(), removing ? zeros() : []];
    k.for(0, WKV_CHUNK, 1, (later) => {
      /** A later token's vector decayed back to every token before it. */
      const decayed = (value: Float, from: number) => {
        const back: Float[] = [];
        for (const token of each.toReversed()) {
          const further = token + 1 < WKV_CHUNK ? mul(back[token + 1], ws[token + 1]) : f32(0);
          const own = equal(later, i32(token + from));
          back[token] = k.let(select(own, value, further));
        }
        return back;
      };
      const r = decayed(reads.r(later, known), 0);
      const q = k.variable(product(0, later));
      const kappa = reads.kappa && decayed(reads.kappa(later, known), 1);
      const s = removing ? k.variable(product(1, later)) : f32(0);
      const [dr, dkappa] = [0, 0].map((zero) => k.variable(f32(zero)));
      for (const token of each) {
        const gram = (which: number) => k.read(pairs, pairAt(which, later, i32(token)));
        const own = equal(later, i32(token));
        const [yv, yu, uv, uu] = count(grams).map(gram);
        k.set(dw[token], fma(r[token], q, dw[token]));
        k.set(dk[token], fma(yv, r[token], dk[token]));
        k.set(q, fma(yv, keys[token], mul(q, ws[token])));
        if (kappa !== undefined) {
          k.set(dw[token], fma(kappa[token], s, dw[token]));
          k.set(dk[token], fma(uv, kappa[token], dk[token]));
          k.set(db[token], fma(yu, r[token], fma(uu, kappa[token], db[token])));
          k.set(q, fma(yu, bs[token], q));
          k.set(dkappa, select(own, s, dkappa));
          k.set(s, fma(uu, bs[token], fma(uv, keys[token], mul(s, ws[token]))));
        }
        k.set(dr, select(own, q, dr));
      }
      k.if(lessThan(column, i32(width)), () => putGradient("r")(later, column, dr));
      if (removing) k.write(asked, askedAt(later), dkappa);
    });

    const late: Float[] = [];
    for (const token of each.toReversed()) {
      late[token] = token + 1 < WKV_CHUNK ? k.let(mul(late[token + 1], ws[token + 1])) : f32(1);
    }
    const dot = k.variable(k.read(places.dots, position([index, width], [known, 1])));
    const half = lines / 2;
    for (const token of each) {
      const at = i32(token);
      const ofV = product(half, at);
      const gradients: [Name, Float][] = [
        ["w", k.let(fma(dot, late[token], dw[token]))],
        ["k", fma(ofV, late[token], dk[token])],
      ];
      k.set(dot, fma(ofV, keys[token], mul(dot, ws[token])));
      if (reads.kappa !== undefined) {
        const ofU = product(half + 1, at);
        k.set(dot, fma(ofU, bs[token], dot));
        const minus = k.let(neg(fma(ofU, late[token], db[token])));
        const own = k.read(asked, askedAt(at));
        gradients.push(
          ["kappa", fma(minus, reads.a!(at, known), own)],
          ["a", mul(minus, reads.kappa(at, known))],
        );
      }
      gradients.forEach(([name, value]) => {
        const whole = k.let(value);
        k.if(lessThan(column, i32(width)), () => putGradient(name)(at, column, whole));
      });
    }
  });
}
