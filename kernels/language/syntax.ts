/**
 * The kernel language: a small typed syntax tree of loops over scalars and vectors.
 *
 * Kernels are written once as TypeScript that builds this tree (so that unrolling, tiling and the
 * shapes at hand are ordinary TypeScript), and a renderer turns the tree into code for a target.
 * There is no scheduling here: what a kernel says is what runs.
 *
 * Types: `i32` index, `f32` scalar, vectors `f32x4`, `f32x8` and `f32x16`, `ptr` byte address into
 * device memory. A kernel is built for a number of lanes, the most that its target has; a block tells
 * the type of such vectors, so that kernels need not name it.
 */

/** Numbers of lanes that vectors have. */
export type Lanes = 4 | 8 | 16;

/** The type of vectors. */
export type Vector = `f32x${Lanes}`;

/** The type of a value in a kernel. */
export type ValueType = "i32" | "f32" | Vector | "ptr";

/** Lanes of a vector type. */
export const LANES = { f32x4: 4, f32x8: 8, f32x16: 16 } as const satisfies Record<Vector, Lanes>;

/** Arithmetic on one value. */
export type UnaryOp =
  | "neg"
  | "abs"
  | "sqrt"
  | "nearest"
  | "bits_to_f32"
  | "exponent"
  | "mantissa"
  | "to_f32"
  | "to_i32"
  | "low4"
  | "high4"
  | "bf16"
  | "low_nibbles"
  | "high_nibbles"
  | "unsigned_bytes"
  | "whole_to_f32"
  | "as_f32"
  | "f16_to_f32";

/** Arithmetic on two values of one type. Comparisons give i32 (scalar) or a lane mask. */
export type BinaryOp =
  | "add"
  | "sub"
  | "mul"
  | "div"
  | "rem"
  | "min"
  | "max"
  | "lt"
  | "eq"
  | "and"
  | "pairs"
  | "xor"
  | "shl"
  | "shr";

/** A value: a pure expression. */
export type Expr<T extends ValueType = ValueType> =
  & { readonly type: T }
  & (
    | { readonly kind: "const"; readonly value: number }
    | { readonly kind: "vector"; readonly values: readonly number[] }
    | { readonly kind: "local"; readonly index: number }
    | { readonly kind: "unary"; readonly op: UnaryOp; readonly a: Expr }
    | { readonly kind: "binary"; readonly op: BinaryOp; readonly a: Expr; readonly b: Expr }
    | { readonly kind: "fma"; readonly a: Expr; readonly b: Expr; readonly c: Expr }
    | {
      readonly kind: "load";
      readonly at: Expr<"ptr">;
      readonly offset: number;
      readonly as: Load;
    }
    | { readonly kind: "select"; readonly mask: Expr; readonly a: Expr; readonly b: Expr }
    | { readonly kind: "splat"; readonly a: Expr }
    | { readonly kind: "lane"; readonly a: Expr; readonly lane: number }
    | { readonly kind: "half"; readonly a: Expr; readonly half: 0 | 1 }
    | { readonly kind: "shuffle"; readonly a: Expr; readonly b: Expr; readonly lanes: Pick4 }
    | { readonly kind: "quads"; readonly parts: readonly Expr[] }
    | { readonly kind: "dot"; readonly a: Expr; readonly b: Expr; readonly c: Expr }
    | { readonly kind: "spread"; readonly a: Expr; readonly first: number; readonly times: 4 | 8 }
    | { readonly kind: "offset"; readonly base: Expr<"ptr">; readonly bytes: Expr<"i32"> }
  );

/**
 * How a load turns memory into a value: as it is; a scalar in every lane; four lanes in every group
 * of four; bf16, f16 or signed bytes as f32; unsigned bytes as the last bits of lanes.
 */
export type Load = "value" | "splat" | "quad" | "bf16" | "f16" | "i8" | "u8";

/** Four lane numbers: 0–3 pick from the first vector, 4–7 from the second. */
export type Pick4 = readonly [number, number, number, number];

/** The nearest cache that memory is brought into. */
export type Cache = 1 | 2;

/** A statement. */
export type Statement =
  | { readonly kind: "set"; readonly local: Expr & { kind: "local" }; readonly value: Expr }
  | {
    readonly kind: "store";
    readonly at: Expr<"ptr">;
    readonly offset: number;
    readonly value: Expr;
  }
  | {
    readonly kind: "storeBytes";
    readonly at: Expr<"ptr">;
    readonly offset: number;
    readonly value: Expr;
  }
  | {
    readonly kind: "prefetch";
    readonly at: Expr<"ptr">;
    readonly offset: number;
    readonly cache: Cache;
  }
  | { readonly kind: "zero"; readonly at: Expr<"ptr">; readonly bytes: Expr<"i32"> }
  | {
    readonly kind: "copy";
    readonly from: Expr<"ptr">;
    readonly to: Expr<"ptr">;
    readonly bytes: Expr<"i32">;
  }
  | {
    readonly kind: "for";
    readonly counter: Expr<"i32"> & { kind: "local" };
    readonly begin: Expr<"i32">;
    readonly end: Expr<"i32">;
    readonly step: number;
    readonly body: readonly Statement[];
  }
  | {
    readonly kind: "if";
    readonly condition: Expr<"i32">;
    readonly then: readonly Statement[];
    readonly otherwise: readonly Statement[];
  }
  | { readonly kind: "tile"; readonly tile: number; readonly action: TileAction };

/** Tiles that a target with them has, by number from 0, their rows and the bytes of a row. */
export const TILES = { count: 8, rows: 16, rowBytes: 64 } as const;

/**
 * What becomes of a tile: it is cleared; it is loaded from or stored to rows in memory, `stride`
 * bytes apart; or the product of two others is added to it. A tile of sums has 16 rows of 16 f32. Of
 * the others, one has in row i the pairs (i, j) of the left factor, in lanes j, as `bf16Pairs` makes
 * them, and one in row j the pairs (j, n) of the right factor, in lanes n.
 */
export type TileAction =
  | { readonly op: "zero" }
  | {
    readonly op: "load" | "store";
    readonly at: Expr<"ptr">;
    readonly offset: number;
    readonly stride: number;
  }
  | { readonly op: "product"; readonly left: number; readonly right: number };

/** A whole kernel: parameters are the first locals. */
export interface KernelCode {
  readonly name: string;
  readonly parameters: readonly ValueType[];
  readonly locals: readonly ValueType[];
  readonly body: readonly Statement[];
}
