/**
 * The RWKV-6 recurrence S ← diag(w)·S + kᵀv, y = r·S (paper, RAD-RWKV6), S [key, value].
 *
 * Columns of S do not depend on one another, so that a head can be divided by them. Few tokens, as
 * in decoding, go through the state one by one; more of them by chunks (wkv6_block.ts), so that the
 * state is read and written once a chunk.
 */

import { WKV_CHUNK } from "../../graph/build.ts";
import { contiguousLayout, type Kernel, type OperandLayout } from "../kernel.ts";
import { type Block, kernel } from "../language/block.ts";
import { div, equal, fma, i32, load, mul, offset, rem, splat } from "../language/language.ts";
import type { KernelCode, Lanes, ValueType } from "../language/syntax.ts";
import { further } from "../products.ts";
import { scratchLayout } from "../scratch.ts";
import {
  advance,
  at,
  divisor,
  F32,
  type HeadOperand,
  headOperand,
  type Index,
  lanesFor,
  type Pointer,
  type Rows,
  variable,
  zeros,
} from "../language/vectors.ts";
import { checkWidth, chunkTokens, headOperands, partsOf, type WkvShape } from "./wkv.ts";
import {
  blockScratch,
  decayBlock,
  openBlock,
  readBlock,
  scoreBlock,
  scoresTimes,
  TOKENS,
} from "./wkv6_block.ts";
import { moveState, rowsTimesState } from "./products.ts";

/** Inputs in the order of the operands. */
export const WKV6_INPUTS = ["r", "w", "k", "v"] as const;
export type Wkv6Name = typeof WKV6_INPUTS[number];

/** What a WKV6 kernel is made for. */
export type Wkv6Shape = WkvShape<Wkv6Name>;

/** What the forward kernels are made for besides. */
export interface Wkv6Forward extends Wkv6Shape {
  /** Whether the states before every chunk are written, [batch, heads, chunks, width, width]. */
  readonly keepStates: boolean;
  /** How y lies, contiguous where it is missing. */
  readonly y?: OperandLayout;
}

/** The most tokens that go through the state one by one: half a chunk. */
const FEW_TOKENS = WKV_CHUNK / 2;
/** The fewest columns that a head is divided into. By chunks every part computes all scores. */
const FEWEST_COLUMNS = { recurrent: 16, chunked: 128 };

type Form = "recurrent" | "chunked";

/** The shape, and what a form makes of it. */
interface Plan extends Wkv6Shape {
  readonly keepStates: boolean;
  readonly y: OperandLayout;
  readonly parts: number;
}

/**
 * Operands r, w, k, v, state → y, state and, with `keepStates`, the states before every chunk. The
 * two states may be one memory. The form is chosen by the number of tokens.
 */
export function wkv6(shape: Wkv6Forward): Kernel {
  return wkv6In(shape.time <= FEW_TOKENS ? "recurrent" : "chunked", shape);
}

/** The kernel in one of its two forms, which compute the same. */
export function wkv6In(form: Form, shape: Wkv6Forward): Kernel {
  const { batch, time, heads, width, inputs, keepStates } = shape;
  checkWidth("wkv6", width);
  const y = shape.y ?? contiguousLayout([batch, time, heads, width]);
  const parts = partsOf(batch * heads, width, 4, FEWEST_COLUMNS[form]);
  const plan = { ...{ batch, time, heads, width, inputs }, ...{ keepStates, y, parts } };
  const elements = batch * heads * width * width;
  const chunks = Math.ceil(time / WKV_CHUNK);
  return {
    key: `wkv6 ${form} ${JSON.stringify([batch, time, heads, width, inputs, keepStates, y])}`,
    code: (most) => wkv6Code(form, plan, lanesFor(most, width / parts)),
    items: batch * heads * parts,
    scratchBytes: form === "recurrent" ? 0 : chunkScratch(width).bytes,
    // Of the recurrence itself, token by token.
    flops: 5 * elements * time,
    bytes: F32 * (5 * batch * time * heads * width + (2 + (keepStates ? chunks : 0)) * elements),
  };
}

/** A part of a head: its columns begin with these pointers. */
interface Part {
  /** The first row of each input; v's begins with the part. */
  readonly tokens: Readonly<Record<Wkv6Name, Pointer>>;
  readonly y: Pointer;
  readonly before: Pointer;
  readonly after: Pointer;
  readonly kept?: Pointer;
}

function wkv6Code(form: Form, plan: Plan, lanes: Lanes): KernelCode {
  const { time, heads, width, inputs, keepStates, parts } = plan;
  const matrix = width * width * F32;
  const chunks = Math.ceil(time / WKV_CHUNK);
  const columns = width / parts;
  const all = {
    ...{ r: "ptr", w: "ptr", k: "ptr", v: "ptr", before: "ptr", y: "ptr", after: "ptr" },
    ...{ kept: "ptr", scratch: "ptr", begin: "i32", end: "i32" },
  } as const satisfies Record<string, ValueType>;
  const { kept: _, ...others } = all;
  const parameters = (keepStates ? all : others) as typeof all;
  return kernel("wkv6", parameters, (k, args) => {
    const operands = headOperands("wkv6", args, inputs);
    const output = headOperand("wkv6 y", args.y, plan.y);
    const run = { recurrent, chunked }[form](k, plan, operands, output, args.scratch);
    k.for(args.begin, args.end, 1, (item) => {
      const index = k.let(div(item, i32(parts)));
      const [b, h] = [k.let(div(index, i32(heads))), k.let(rem(index, i32(heads)))];
      const first = k.let(mul(rem(item, i32(parts)), i32(columns * F32)));
      const ofHead = (base: Pointer, bytes: number) => further(at(base, index, bytes), first);
      const tokens = Object.fromEntries(
        WKV6_INPUTS.map((name) => [name, variable(k, operands[name].row(b, h))]),
      ) as Record<Wkv6Name, Pointer>;
      k.set(tokens.v, further(tokens.v, first));
      run({
        tokens,
        y: variable(k, further(output.row(b, h), first)),
        before: k.let(ofHead(args.before, matrix)),
        after: k.let(ofHead(args.after, matrix)),
        ...(keepStates ? { kept: variable(k, ofHead(args.kept, chunks * matrix)) } : {}),
      });
    });
  }, lanes);
}

/** Copies the columns of a part of a state. */
function copyColumns(k: Block, width: number, columns: number, from: Pointer, to: Pointer): void {
  const row = width * F32;
  if (columns === width) return k.copy(from, to, width * row);
  k.for(0, width, 1, (i) => k.copy(at(from, i, row), at(to, i, row), columns * F32));
}

/** Writes what is the same for all parts, and gives what writes a part. */
type Write = (
  k: Block,
  plan: Plan,
  operands: Readonly<Record<Wkv6Name, HeadOperand>>,
  output: HeadOperand,
  scratch: Pointer,
) => (part: Part) => void;

/** Token by token: a row of the state and of y at a time. */
const recurrent: Write = (k, { time, width, parts }, operands, output) => (part) => {
  const row = width * F32;
  const columns = width / parts;
  const vectors = divisor(columns / k.lanes, 4);
  const { tokens, y, after, kept } = part;
  const from = variable(k, part.before);
  k.for(0, time, 1, (token) => {
    if (kept !== undefined) {
      k.if(equal(rem(token, i32(WKV_CHUNK)), i32(0)), () => {
        copyColumns(k, width, columns, from, kept);
        advance(k, [[kept, width * row]]);
      });
    }
    k.for(0, columns * F32, vectors * k.vectorBytes, (bytes) => {
      const values = Array.from(
        { length: vectors },
        (_, n) => k.let(load(k.vector, k.let(further(tokens.v, bytes)), n * k.vectorBytes)),
      );
      const totals = zeros(k, vectors);
      const [old, next] = [from, after].map((state) => variable(k, further(state, bytes)));
      const scalars = [tokens.w, tokens.k, tokens.r].map((pointer) => variable(k, pointer));
      k.for(0, width, 2, () => {
        for (const i of [0, 1]) {
          const [w, key, r] = scalars.map((from) =>
            k.let(splat(load("f32", from, i * F32), k.vector))
          );
          values.forEach((v, n) => {
            const decayed = mul(load(k.vector, old, i * row + n * k.vectorBytes), w);
            const state = k.let(fma(key, v, decayed));
            k.store(state, next, i * row + n * k.vectorBytes);
            k.set(totals[n], fma(r, state, totals[n]));
          });
        }
        const moves = scalars.map((pointer) => [pointer, 2 * F32] as const);
        advance(k, [[old, 2 * row], [next, 2 * row], ...moves]);
      });
      totals.forEach((total, n) => k.store(total, further(y, bytes), n * k.vectorBytes));
    });
    k.set(from, after);
    advance(k, [
      ...WKV6_INPUTS.map((name) => [tokens[name], operands[name].timeStride] as const),
      [y, output.timeStride],
    ]);
  });
};

/** The parts of scratch memory. */
const chunkScratch = (width: number) =>
  scratchLayout({ block: blockScratch(width, false).bytes, y: TOKENS * width * F32 });

/** By chunks of sixteen tokens. */
const chunked: Write = (k, { time, width, parts }, operands, output, scratch) => {
  const row = width * F32;
  const columns = width / parts;
  const chunks = Math.ceil(time / WKV_CHUNK);
  const block = openBlock(k, width, scratch, false);
  const rows = k.let(offset(scratch, chunkScratch(width).places.y));
  return ({ tokens, y, before, after, kept }) => {
    copyColumns(k, width, columns, before, after);
    k.for(0, chunks, 1, (chunk) => {
      const count = chunkTokens(time, k.let(mul(chunk, i32(WKV_CHUNK))));
      const length: Index = typeof count === "number" ? i32(count) : k.let(count);
      if (kept !== undefined) copyColumns(k, width, columns, after, kept);
      const input = (name: Wkv6Name): Rows => ({
        first: tokens[name],
        stride: operands[name].timeStride,
      });
      const inputs = { r: input("r"), w: input("w"), k: input("k"), v: input("v") };
      readBlock(k, width, inputs, length, block, columns);
      decayBlock(k, width, block, false);
      scoreBlock(k, width, block);
      const more = scoresTimes(k, width, block, block.v);
      rowsTimesState(k, width, block.rEarly, after, rows, { columns, more });
      moveState(k, width, {
        ...{ from: after, to: after, decay: block.decay, decayOf: "rows" },
        ...{ left: block.kLate, right: block.v, columns },
      });
      k.for(0, length, 1, (token) => {
        k.copy(at(rows, token, row), at(y, token, output.timeStride), columns * F32);
      });
      advance(k, [
        ...WKV6_INPUTS.map((name) =>
          [tokens[name], WKV_CHUNK * operands[name].timeStride] as const
        ),
        [y, WKV_CHUNK * output.timeStride],
        ...(kept === undefined ? [] : [[kept, width * row] as const]),
      ]);
    });
  };
};
