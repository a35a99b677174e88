/**
 * The GPU kernel language: what one thread of a group does, as a small typed tree.
 *
 * Arithmetic is that of kernels/language/language.ts on scalars (`f32`, and `i32` for indices and,
 * as 0 or 1, for conditions). A GPU adds statements: reads and writes of operands by element index,
 * arrays that the threads of a group share, barriers, and shuffles within subgroups, where there are any.
 * A barrier must be reached by all threads of a group, a shuffle too: they stand only where bounds
 * and conditions around it are the same for all of them, which `group`, constants, `uniform` and
 * loop counters over such bounds are. A renderer turns the tree into WGSL or CUDA C++.
 */

import { constant } from "../language/language.ts";
import type { Expr } from "../language/syntax.ts";

/** Element types of operands and shared arrays, and of scalars. */
export type Scalar = "f32" | "i32";

/** Scalars. */
export type Index = Expr<"i32">;
/** A real number. */
export type Float = Expr<"f32">;

/** Memory that is read and written by element index: an operand, or an array of a group. */
export interface Place<T extends Scalar = Scalar> {
  readonly kind: "operand" | "shared";
  readonly index: number;
  readonly type: T;
}

/** Four neighbours. */
export type Four<T> = readonly [T, T, T, T];

/** A local that is assigned. */
export type Local = Expr & { readonly kind: "local" };

/** A statement. */
export type GpuStatement =
  /** A new local that keeps its value. */
  | { readonly kind: "let"; readonly local: Local; readonly value: Expr }
  /** A new local that `set` changes. */
  | { readonly kind: "variable"; readonly local: Local; readonly value: Expr }
  | { readonly kind: "set"; readonly local: Local; readonly value: Expr }
  /** A new local with what memory holds. */
  | { readonly kind: "read"; readonly local: Local; readonly from: Place; readonly at: Index }
  | { readonly kind: "write"; readonly to: Place; readonly at: Index; readonly value: Expr }
  /** Four new locals with neighbouring elements, the first of which lies at a multiple of 16 bytes. */
  | {
    readonly kind: "read4";
    readonly locals: Four<Local>;
    readonly from: Place;
    readonly at: Index;
  }
  | {
    readonly kind: "write4";
    readonly to: Place<"f32">;
    readonly at: Index;
    readonly values: Four<Float>;
  }
  /** A new local with the TF32 that is nearest to a value: 11 bits, of two the one farther from 0. */
  | { readonly kind: "tf32"; readonly local: Local; readonly value: Float }
  /** sums ← a·b + sums, as `GpuBlock.mma` (block.ts) says. */
  | {
    readonly kind: "mma";
    readonly sums: Four<Local>;
    readonly a: Four<Float>;
    readonly b: readonly [Float, Float];
  }
  /**
   * Waits for all threads of the group; what they wrote before to shared arrays, or to operands as
   * well, the others then see.
   */
  | { readonly kind: "barrier"; readonly of: "shared" | "operands" }
  /**
   * A new local with what another thread of the subgroup has: the one whose number differs in the one
   * bit of `mask`, which is less than the size of a subgroup. All threads of a subgroup reach it.
   */
  | {
    readonly kind: "shuffle";
    readonly local: Local;
    readonly value: Float;
    readonly mask: number;
  }
  /** A new local: threads of a subgroup. */
  | { readonly kind: "subgroupSize"; readonly local: Local }
  /** What a device does that has subgroups, and what another one does. */
  | {
    readonly kind: "bySubgroups";
    readonly then: readonly GpuStatement[];
    readonly otherwise: readonly GpuStatement[];
  }
  /** A new local, the same for all threads of the group, whose values must agree. */
  | { readonly kind: "uniform"; readonly local: Local; readonly value: Expr<"i32"> }
  | {
    readonly kind: "for";
    readonly counter: Local;
    readonly begin: Index;
    readonly end: Index;
    readonly step: number;
    /** Rounds that are to be written out one after another, where the language can be told. */
    readonly unroll: number;
    readonly body: readonly GpuStatement[];
  }
  | {
    readonly kind: "if";
    readonly condition: Index;
    readonly then: readonly GpuStatement[];
    readonly otherwise: readonly GpuStatement[];
  };

/** An operand of a kernel, in the order of the launch. */
export interface GpuOperand {
  readonly name: string;
  readonly type: Scalar;
  readonly written: boolean;
}

/** A whole kernel. */
export interface GpuCode {
  readonly name: string;
  readonly operands: readonly GpuOperand[];
  readonly shared: readonly { readonly type: Scalar; readonly size: number }[];
  /** Threads of a group. */
  readonly threads: number;
  /** Local 0 is the group's number, local 1 the thread's in its group. */
  readonly body: readonly GpuStatement[];
}

/** A real constant. */
export const f32 = (value: number): Float => constant("f32", value);
