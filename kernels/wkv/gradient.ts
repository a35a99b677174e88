/**
 * What the gradients of the RWKV recurrences have in common: every head goes through its chunks from
 * the last to the first, with the gradient of the state after a chunk and the state before it, which
 * the forward pass kept.
 */

import { WKV_CHUNK } from "../../graph/build.ts";
import { type Block, kernel } from "../language/block.ts";
import { contiguousLayout, type Kernel, type OperandLayout } from "../kernel.ts";
import { add, div, i32, load, mul, rem, sub } from "../language/language.ts";
import { further } from "../products.ts";
import type { KernelCode, Lanes } from "../language/syntax.ts";
import {
  at,
  F32,
  type HeadOperand,
  headOperand,
  type Index,
  lanesFor,
  type Pointer,
  type Rows,
  type V,
  variable,
} from "../language/vectors.ts";
import { checkWidth, chunkTokens, headOperands, type WkvShape } from "./wkv.ts";

/** What a kernel is made for. */
export interface WkvGradientShape<Name extends string> extends WkvShape<Name> {
  /** How dy lies, contiguous where it is missing. */
  readonly dy?: OperandLayout;
}

/** A chunk of a head. */
export interface GradientChunk<Name extends string> {
  /** Tokens that exist. */
  readonly tokens: Index;
  /** The state before the chunk. */
  readonly state: Pointer;
  /** The gradient of the state after the chunk, which becomes that of the state before it. */
  readonly dState: Pointer;
  /** Rows of some inputs and of dy, from a token of the chunk on. */
  inputs<N extends Name | "dy">(names: readonly N[], token: Index): Readonly<Record<N, Rows>>;
  /** Rows of the gradients of the inputs, from a token of the chunk on. */
  gradients(token: Index): Readonly<Record<Name, Rows>>;
}

/** What one recurrence does. */
export interface WkvGradient<Name extends string> {
  /** The name of the kernel. */
  readonly op: string;
  /** The inputs in the order of the operands. */
  readonly names: readonly Name[];
  /** Operations for an element of the state and a token, of the recurrence and of its reverse. */
  readonly flops: number;
  readonly scratchBytes: number;
  /** Writes what is the same for all chunks, and gives what writes a chunk. */
  readonly write: (k: Block, scratch: Pointer) => (chunk: GradientChunk<Name>) => void;
}

/**
 * Operands: the inputs, chunk states, dy, dstate → the gradients of the inputs, dstate. The two
 * dstates may be one memory.
 */
export function wkvGradient<Name extends string>(
  shape: WkvGradientShape<Name>,
  recurrence: WkvGradient<Name>,
): Kernel {
  const { op, names, flops, scratchBytes } = recurrence;
  const { batch, time, heads, width, inputs } = shape;
  checkWidth(op, width);
  const dy = shape.dy ?? contiguousLayout([batch, time, heads, width]);
  const elements = batch * heads * width * width;
  const tokens = batch * time * heads * width;
  return {
    key: `${op} ${JSON.stringify([batch, time, heads, width, inputs, dy])}`,
    code: (most) => gradientCode({ ...shape, dy }, recurrence, lanesFor(most, width)),
    items: batch * heads,
    scratchBytes,
    flops: flops * elements * time,
    bytes: F32 * ((2 * names.length + 1) * tokens + (Math.ceil(time / WKV_CHUNK) + 2) * elements),
  };
}

function gradientCode<Name extends string>(
  shape: Required<WkvGradientShape<Name>>,
  { op, names, write }: WkvGradient<Name>,
  lanes: Lanes,
): KernelCode {
  const { batch, time, heads, width, inputs } = shape;
  const chunks = Math.ceil(time / WKV_CHUNK);
  const matrix = width * width * F32;
  const gradients = names.map((name) => `d${name}` as const);
  const pointers = [
    ...[...names, "kept", "dy", "dAfter"] as const,
    ...[...gradients, "dBefore", "scratch"] as const,
  ];
  const parameters = {
    ...Object.fromEntries(pointers.map((name) => [name, "ptr"])),
    ...{ begin: "i32", end: "i32" },
  } as Record<typeof pointers[number], "ptr"> & Record<"begin" | "end", "i32">;
  return kernel(op, parameters, (k, all) => {
    const args = all as unknown as Record<typeof pointers[number], Pointer>;
    const operands = {
      ...headOperands(op, args, inputs),
      dy: headOperand(`${op} dy`, args.dy, shape.dy),
    } as Record<Name | "dy", HeadOperand>;
    const contiguous = contiguousLayout([batch, time, heads, width]);
    const outputs = Object.fromEntries(
      names.map((name) => [name, headOperand(`${op} d${name}`, args[`d${name}`], contiguous)]),
    ) as Record<Name, HeadOperand>;
    const writeChunk = write(k, args.scratch);
    k.for(all.begin, all.end, 1, (item) => {
      const [b, h] = [k.let(div(item, i32(heads))), k.let(rem(item, i32(heads)))];
      const dState = k.let(at(args.dBefore, item, matrix));
      k.copy(at(args.dAfter, item, matrix), dState, matrix);
      k.for(0, chunks, 1, (done) => {
        const chunk = k.let(sub(i32(chunks - 1), done));
        const first = k.let(mul(chunk, i32(WKV_CHUNK)));
        const count = chunkTokens(time, first);
        const rowsOf = <N extends string>(
          all: Readonly<Record<N, HeadOperand>>,
          some: readonly N[],
          token: Index,
        ) =>
          Object.fromEntries(some.map((name) => {
            const { row, timeStride: stride } = all[name];
            return [name, { first: k.let(at(row(b, h), add(first, token), stride)), stride }];
          })) as Record<N, Rows>;
        writeChunk({
          tokens: typeof count === "number" ? i32(count) : k.let(count),
          state: k.let(at(at(args.kept, item, chunks * matrix), chunk, matrix)),
          dState,
          inputs: (some, token) => rowsOf(operands, some, token),
          gradients: (token) => rowsOf(outputs, names, token),
        });
      });
    });
  }, lanes);
}

/** A few vectors of a row, and how a kernel comes by them. */
export interface ColumnAccess {
  /** The numbers of the vectors. */
  readonly each: readonly number[];
  /** Where a row of the width in scratch memory has them. */
  column(rows: Pointer, row: Index): Pointer;
  /** Where a row of an operand has them. */
  target(rows: Rows, row: Index): Pointer;
  read(from: Pointer, bytes?: number): V[];
  write(values: readonly V[], to: Pointer, bytes?: number): void;
  /** Variables that begin with values. */
  held(values: readonly V[]): V[];
}

/** Access to so many vectors of rows of a width, from so many bytes on. */
export function columnAccess(
  k: Block,
  width: number,
  first: Index,
  vectors: number,
): ColumnAccess {
  const each = Array.from({ length: vectors }, (_, v) => v);
  return {
    each,
    column: (rows, row) => k.let(further(at(rows, row, width * F32), first)),
    target: (rows, row) => k.let(further(at(rows.first, row, rows.stride), first)),
    read: (from, bytes = 0) =>
      each.map((v) => k.let(load(k.vector, from, bytes + v * k.vectorBytes))),
    write: (values, to, bytes = 0) =>
      values.forEach((value, v) => k.store(value, to, bytes + v * k.vectorBytes)),
    held: (values) => values.map((value) => variable(k, value)),
  };
}
