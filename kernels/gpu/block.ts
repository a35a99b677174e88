/** GPU kernels under construction: what binds values to locals and lists statements (language.ts). */

import type { Block } from "../language/block.ts";
import { i32 } from "../language/language.ts";
import type { Expr } from "../language/syntax.ts";
import type {
  Float,
  Four,
  GpuCode,
  GpuStatement,
  Index,
  Local,
  Place,
  Scalar,
} from "./language.ts";

/** Threads of a subgroup: a power of 2 from here to here, which only the device knows. */
export const SUBGROUP_SIZES = { least: 4, most: 128 } as const;

/**
 * The subgroup of a thread: so many threads of a group, side by side from a multiple of their number
 * on, which exchange values without shared memory.
 */
export interface Subgroup {
  readonly size: Index;
  /** What the thread has whose number differs in the bit of a mask, a power of 2 below the size. */
  shuffle(value: Float, mask: number): Float;
}

/** A kernel under construction. It binds as a CPU's block does, so that arithmetic is shared. */
export interface GpuBlock extends Pick<Block, "let" | "set" | "if"> {
  /** The group's number, the same for all its threads. */
  readonly group: Index;
  /** The thread's number in its group. */
  readonly thread: Index;
  /** Threads of a group. */
  readonly threads: number;
  /** A new local that will be set again. */
  variable<T extends Scalar>(value: Expr<T>): Expr<T>;
  /** An array that the group shares; unset at first. */
  shared<T extends Scalar>(type: T, size: number): Place<T>;
  /** An element, read now. */
  read<T extends Scalar>(from: Place<T>, at: Index): Expr<T>;
  /** Writes an element. */
  write<T extends Scalar>(to: Place<T>, at: Index, value: Expr<T>): void;
  /**
   * Four neighbouring elements, read now. The index is a multiple of 4, and an operand begins at a
   * multiple of 16 bytes (GpuKernel.aligned).
   */
  read4<T extends Scalar>(from: Place<T>, at: Index): Four<Expr<T>>;
  /** Writes four neighbouring elements, which lie as `read4` says. */
  write4(to: Place<"f32">, at: Index, values: Four<Float>): void;
  /** The nearest TF32, which is what `mma` multiplies. Of CUDA alone, as `mma` is. */
  tf32(value: Float): Float;
  /**
   * sums ← a·b + sums of a tile 16×8 along 8 steps, in TF32 with sums in f32, on a GPU's tensor cores.
   * The 32 threads side by side from a multiple of 32 on do it together: all of them must reach it.
   * With x = thread / 4 % 8 and y = thread % 4 a thread has, as the PTX manual lays out m16n8k8,
   * of a [row, step] (x, y), (x + 8, y), (x, y + 4), (x + 8, y + 4), of b [step, column] (y, x),
   * (y + 4, x), and of the sums (x, 2y), (x, 2y + 1), (x + 8, 2y), (x + 8, 2y + 1).
   */
  mma(sums: Four<Float>, a: Four<Float>, b: readonly [Float, Float]): void;
  /** Runs the body for every step of a range; `unroll` rounds are written out where that helps. */
  for(
    begin: Index | number,
    end: Index | number,
    step: number,
    body: (counter: Index) => void,
    unroll?: number,
  ): void;
  /** Waits for the group; `operands` makes what it wrote to operands visible too. */
  barrier(of?: "shared" | "operands"): void;
  /** What is done where there are subgroups, and where there are none. */
  bySubgroups(then: (subgroup: Subgroup) => void, otherwise: () => void): void;
  /** Promises that a value is the same for all threads, so that barriers may depend on it. */
  uniform(value: Index): Index;
}

/** Operands by name: their element type, `+` before it where they are written. */
export type OperandTypes = Readonly<Record<string, Scalar | `+${Scalar}`>>;

type TypeOf<S extends string> = S extends `+${infer T extends Scalar}` ? T
  : S extends Scalar ? S
  : never;

/** Builds a kernel. `write` emits what one thread does. */
export function gpuKernel<O extends OperandTypes>(
  name: string,
  threads: number,
  operands: O,
  write: (k: GpuBlock, places: { [N in keyof O]: Place<TypeOf<O[N]>> }) => void,
): GpuCode {
  let statements: GpuStatement[] = [];
  let locals = 0;
  const shared: { type: Scalar; size: number }[] = [];
  const local = <T extends Scalar>(type: T) =>
    ({ kind: "local", type, index: locals++ }) as Expr<T> & Local;
  const nested = (write: () => void): GpuStatement[] => {
    const outer = statements;
    const inner: GpuStatement[] = statements = [];
    write();
    statements = outer;
    return inner;
  };
  const index = (e: Index | number) => typeof e === "number" ? i32(e) : e;
  const [group, thread] = [local("i32"), local("i32")];
  const block: GpuBlock = {
    ...{ group, thread, threads },
    let: (value) => {
      if (value.kind === "local" || value.kind === "const") return value;
      const to = local(value.type as Scalar) as Local;
      statements.push({ kind: "let", local: to, value });
      return to as unknown as typeof value;
    },
    variable: (value) => {
      const to = local(value.type);
      statements.push({ kind: "variable", local: to, value });
      return to as typeof value;
    },
    set: (to, value) => {
      if (to.kind !== "local") throw new Error("gpu language: set of something not a local");
      statements.push({ kind: "set", local: to as Expr as Local, value });
    },
    shared: (type, size) => {
      shared.push({ type, size });
      return { kind: "shared", index: shared.length - 1, type };
    },
    read: (from, at) => {
      const to = local(from.type);
      statements.push({ kind: "read", local: to, from, at });
      return to;
    },
    write: (to, at, value) => {
      statements.push({ kind: "write", to, at, value });
    },
    read4: (from, at) => {
      const own = () => local(from.type);
      const locals = [own(), own(), own(), own()] as const;
      statements.push({ kind: "read4", locals, from, at });
      return locals;
    },
    write4: (to, at, values) => {
      statements.push({ kind: "write4", to, at, values });
    },
    tf32: (value) => {
      const to = local("f32");
      statements.push({ kind: "tf32", local: to, value });
      return to;
    },
    mma: (sums, a, b) => {
      if (sums.some(({ kind }) => kind !== "local")) {
        throw new Error("gpu language: mma of sums that are not locals");
      }
      statements.push({ kind: "mma", sums: sums as Four<Expr> as Four<Local>, a, b });
    },
    barrier: (of = "shared") => {
      statements.push({ kind: "barrier", of });
    },
    bySubgroups: (then, otherwise) => {
      const inner = nested(() => {
        const size = local("i32");
        statements.push({ kind: "subgroupSize", local: size });
        then({
          size,
          shuffle: (value, mask) => {
            const to = local("f32");
            statements.push({ kind: "shuffle", local: to, value, mask });
            return to;
          },
        });
      });
      statements.push({ kind: "bySubgroups", then: inner, otherwise: nested(otherwise) });
    },
    uniform: (value) => {
      const to = local("i32");
      statements.push({ kind: "uniform", local: to, value });
      return to;
    },
    for: (begin, end, step, body, unroll = 1) => {
      const counter = local("i32");
      const inner = nested(() => body(counter));
      const bounds = { begin: index(begin), end: index(end), step, unroll };
      statements.push({ kind: "for", counter, ...bounds, body: inner });
    },
    if: (condition, then, otherwise = () => {}) => {
      statements.push({
        kind: "if",
        condition,
        then: nested(then),
        otherwise: nested(otherwise),
      });
    },
  };
  const places = Object.fromEntries(
    Object.entries(operands).map(([key, type], index) => {
      const own = type.replace("+", "") as Scalar;
      return [key, { kind: "operand", index, type: own }];
    }),
  ) as { [N in keyof O]: Place<TypeOf<O[N]>> };
  write(block, places);
  return {
    name,
    operands: Object.entries(operands).map(([name, type]) => ({
      name,
      type: type.replace("+", "") as Scalar,
      written: type.startsWith("+"),
    })),
    ...{ shared, threads, body: statements },
  };
}
