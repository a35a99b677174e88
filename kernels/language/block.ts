/** Kernels under construction: what binds values to locals and lists statements (syntax.ts). */

import type {
  Cache,
  Expr,
  KernelCode,
  Lanes,
  Statement,
  TileAction,
  ValueType,
  Vector,
} from "./syntax.ts";

/** What binds values to locals: all that arithmetic needs of a kernel under construction. */
export type Binder = Pick<Block, "let">;

/** A list of statements under construction. */
export interface Block {
  /** Lanes of the vectors that the kernel is built for, their type and their bytes. */
  readonly lanes: Lanes;
  readonly vector: Vector;
  readonly vectorBytes: number;
  /** The same list, for what is done with vectors of other lanes. */
  withLanes(lanes: Lanes): Block;
  readonly statements: Statement[];
  /** Binds a value to a new local. */
  let<T extends ValueType>(value: Expr<T>): Expr<T>;
  /** A new local that will be set later. */
  variable<T extends ValueType>(type: T): Expr<T>;
  /** Assigns a local. */
  set<T extends ValueType>(local: Expr<T>, value: Expr<T>): void;
  /** Writes a value to memory. */
  store(value: Expr, at: Expr<"ptr">, byteOffset?: number): void;
  /** Writes lanes that are whole numbers, −128 … 127, as signed bytes. */
  storeBytes(value: Expr<Vector>, at: Expr<"ptr">, byteOffset?: number): void;
  /** Says that memory, which need not be there, is read soon; nothing where there is no such word. */
  prefetch(at: Expr<"ptr">, byteOffset?: number, cache?: Cache): void;
  /** Fills memory with zeros. */
  zero(at: Expr<"ptr">, bytes: Expr<"i32"> | number): void;
  /** Copies memory; the two ranges do not overlap. */
  copy(from: Expr<"ptr">, to: Expr<"ptr">, bytes: Expr<"i32"> | number): void;
  /** Runs the body for begin, begin + step, … while < end. */
  for(
    begin: Expr<"i32"> | number,
    end: Expr<"i32"> | number,
    step: number,
    body: (counter: Expr<"i32">) => void,
  ): void;
  /** Does something with a tile, on a target that has them (TILES). */
  tile(tile: number, action: TileAction): void;
  /** Runs a branch. */
  if(condition: Expr<"i32">, then: () => void, otherwise?: () => void): void;
}

/**
 * Builds a kernel. `parameters` names its arguments in order; `write` receives the block and the
 * arguments and emits the body. `lanes` are those of its vectors.
 */
export function kernel<P extends Record<string, ValueType>>(
  name: string,
  parameters: P,
  write: (k: Block, args: { [K in keyof P]: Expr<P[K]> }) => void,
  lanes: Lanes = 4,
): KernelCode {
  const locals: ValueType[] = [];
  let statements: Statement[] = [];
  const local = <T extends ValueType>(type: T): Expr<T> & { kind: "local" } =>
    ({ kind: "local", type, index: locals.push(type) - 1 }) as Expr<T> & { kind: "local" };
  const nested = (write: () => void): Statement[] => {
    const outer = statements;
    const inner: Statement[] = [];
    statements = inner;
    write();
    statements = outer;
    return inner;
  };
  const index = (e: Expr<"i32"> | number): Expr<"i32"> =>
    typeof e === "number" ? { kind: "const", type: "i32", value: e } : e;
  const ofLanes = (lanes: Lanes): Block => ({
    ...{ lanes, vector: `f32x${lanes}`, vectorBytes: 4 * lanes, withLanes: ofLanes },
    get statements() {
      return statements;
    },
    let: (value) => {
      if (value.kind === "local" || value.kind === "const") return value;
      const to = local(value.type);
      statements.push({ kind: "set", local: to, value });
      return to;
    },
    variable: (type) => local(type),
    set: (to, value) => {
      if (to.kind !== "local") throw new Error("kernel language: set of something not a local");
      statements.push({ kind: "set", local: to as Expr & { kind: "local" }, value });
    },
    store: (value, at, byteOffset = 0) => {
      statements.push({ kind: "store", at, offset: byteOffset, value });
    },
    storeBytes: (value, at, byteOffset = 0) => {
      statements.push({ kind: "storeBytes", at, offset: byteOffset, value });
    },
    prefetch: (at, byteOffset = 0, cache = 1) => {
      statements.push({ kind: "prefetch", at, offset: byteOffset, cache });
    },
    zero: (at, bytes) => {
      statements.push({ kind: "zero", at, bytes: index(bytes) });
    },
    copy: (from, to, bytes) => {
      statements.push({ kind: "copy", from, to, bytes: index(bytes) });
    },
    for: (begin, end, step, body) => {
      const counter = local("i32");
      const inner = nested(() => body(counter));
      statements.push({
        kind: "for",
        counter,
        begin: index(begin),
        end: index(end),
        step,
        body: inner,
      });
    },
    tile: (tile, action) => {
      statements.push({ kind: "tile", tile, action });
    },
    if: (condition, then, otherwise) => {
      const yes = nested(then);
      const no = otherwise === undefined ? [] : nested(otherwise);
      statements.push({ kind: "if", condition, then: yes, otherwise: no });
    },
  });
  const types = Object.values(parameters);
  const args = Object.fromEntries(
    Object.entries(parameters).map(([key, type]) => [key, local(type)]),
  ) as { [K in keyof P]: Expr<P[K]> };
  write(ofLanes(lanes), args);
  return { name, parameters: types, locals: locals.slice(types.length), body: statements };
}
