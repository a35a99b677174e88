/** GPU kernels (kernels/gpu/language.ts) as text of a language with C's syntax. */

import type { Four, GpuStatement, Place, Scalar } from "../gpu/language.ts";
import type { BinaryOp, Expr, UnaryOp } from "../language/syntax.ts";

/** Arithmetic on scalars: that on vectors of small integers is of the CPU's kernels. */
export type ScalarOp = Exclude<UnaryOp, ByteOp | "bf16">;
type ByteOp = "low4" | "high4" | "low_nibbles" | "high_nibbles" | "unsigned_bytes" | "whole_to_f32";

/** What languages with C's syntax say differently. Texts of expressions are whole: in brackets. */
export interface Dialect {
  constant(type: Scalar, value: number): string;
  /** A new local with a value: one that is kept, or one that is assigned again. */
  declare(type: Scalar, name: string, value: string, assigned: boolean): string;
  unary(op: ScalarOp, a: string): string;
  /** Smallest or largest of two. */
  extreme(op: "min" | "max", type: Scalar, a: string, b: string): string;
  shift(op: "shl" | "shr", a: string, b: string): string;
  fma(a: string, b: string, c: string): string;
  select(condition: string, a: string, b: string): string;
  /** A condition as 0 or 1. */
  whole(condition: string): string;
  read(from: Place, at: string): string;
  write(to: Place, at: string, value: string): string;
  /** Four neighbours as new locals, and from values. */
  read4(names: Four<string>, from: Place, at: string): string;
  write4(to: Place, at: string, values: Four<string>): string;
  /**
   * A new local with the nearest TF32, and a product of tiles by 32 threads; missing where a language
   * has none.
   */
  tf32?(name: string, value: string): string;
  mma?(sums: Four<string>, a: Four<string>, b: readonly [string, string]): string;
  /** What stands before a loop of which so many rounds are to be written out, and its end. */
  unroll(rounds: number): readonly string[];
  loopEnd(end: string, rounds: number): string;
  barrier(of: "shared" | "operands"): string;
  /** A new local from a value that is the same for the whole group. */
  uniform(name: string, value: string): string;
  /** What a device has that has subgroups. */
  readonly subgroups?: SubgroupDialect;
}

/** How subgroups are said. */
export interface SubgroupDialect {
  /** The number of their threads. */
  readonly size: string;
  /** What the thread has whose number differs in the bits of a mask. */
  shuffle(value: string, mask: number): string;
}

const OPERATORS = { add: "+", sub: "-", mul: "*", div: "/", rem: "%", and: "&", xor: "^" } as const;
const COMPARISONS = { lt: "<", eq: "==" } as const;

const isComparison = (op: BinaryOp): op is keyof typeof COMPARISONS => op === "lt" || op === "eq";

const scalar = ({ type }: Expr): Scalar => {
  if (type !== "f32" && type !== "i32") throw new Error(`gpu kernel: a value of type ${type}`);
  return type;
};

const ofCuda = (what: string) => new Error(`gpu kernel: ${what} is of CUDA's kernels`);
const ofCpu = (what: string) => new Error(`gpu kernel: ${what} is of the CPU's kernels`);

/** A local's name. */
export const localName = (index: number): string => `l${index}`;

/** The text of a condition. */
function condition(e: Expr, dialect: Dialect): string {
  if (e.kind === "binary" && isComparison(e.op)) {
    return `(${value(e.a, dialect)} ${COMPARISONS[e.op]} ${value(e.b, dialect)})`;
  }
  if (e.kind === "binary" && e.op === "and") {
    return `(${condition(e.a, dialect)} && ${condition(e.b, dialect)})`;
  }
  return `(${value(e, dialect)} != ${dialect.constant("i32", 0)})`;
}

function unary({ op, a }: Expr & { readonly kind: "unary" }, dialect: Dialect): string {
  switch (op) {
    case "low4":
    case "high4":
    case "bf16":
    case "low_nibbles":
    case "high_nibbles":
    case "unsigned_bytes":
    case "whole_to_f32":
      throw ofCpu(op);
    default:
      return dialect.unary(op, value(a, dialect));
  }
}

function binary(e: Expr & { readonly kind: "binary" }, dialect: Dialect): string {
  const [a, b] = [value(e.a, dialect), value(e.b, dialect)];
  switch (e.op) {
    case "add":
    case "sub":
    case "mul":
    case "div":
    case "rem":
    case "and":
    case "xor":
      return `(${a} ${OPERATORS[e.op]} ${b})`;
    case "min":
    case "max":
      return dialect.extreme(e.op, scalar(e), a, b);
    case "shl":
    case "shr":
      return dialect.shift(e.op, a, b);
    case "lt":
    case "eq":
      return dialect.whole(condition(e, dialect));
    case "pairs":
      throw ofCpu(e.op);
    default:
      return e.op satisfies never;
  }
}

/** The text of a value. */
function value(e: Expr, dialect: Dialect): string {
  const text = (part: Expr) => value(part, dialect);
  switch (e.kind) {
    case "const":
      return dialect.constant(scalar(e), e.value);
    case "local":
      return localName(e.index);
    case "unary":
      return unary(e, dialect);
    case "fma":
      return dialect.fma(text(e.a), text(e.b), text(e.c));
    case "select":
      return dialect.select(condition(e.mask, dialect), text(e.a), text(e.b));
    case "binary":
      return binary(e, dialect);
    case "vector":
    case "splat":
    case "lane":
    case "half":
    case "shuffle":
    case "quads":
    case "dot":
    case "spread":
    case "load":
    case "offset":
      throw ofCpu(e.kind);
    default:
      return e satisfies never;
  }
}

/** The lines of a body. */
export function bodyLines(
  list: readonly GpuStatement[],
  dialect: Dialect,
  indent = "  ",
): string[] {
  const { subgroups } = dialect;
  const within = () => {
    if (subgroups === undefined) throw new Error("gpu kernel: subgroups where there may be none");
    return subgroups;
  };
  const text = (e: Expr) => value(e, dialect);
  const inner = (body: readonly GpuStatement[]) => bodyLines(body, dialect, `${indent}  `);
  return list.flatMap((s): string[] => {
    const line = (content: string) => [indent + content];
    switch (s.kind) {
      case "let":
      case "variable": {
        const name = localName(s.local.index);
        const assigned = s.kind === "variable";
        return line(dialect.declare(scalar(s.local), name, text(s.value), assigned));
      }
      case "set":
        return line(`${localName(s.local.index)} = ${text(s.value)};`);
      case "read": {
        const from = dialect.read(s.from, text(s.at));
        return line(dialect.declare(scalar(s.local), localName(s.local.index), from, false));
      }
      case "write":
        return line(dialect.write(s.to, text(s.at), text(s.value)));
      case "read4": {
        const [a, b, c, d] = s.locals.map(({ index }) => localName(index));
        return line(dialect.read4([a, b, c, d], s.from, text(s.at)));
      }
      case "write4": {
        const [a, b, c, d] = s.values.map(text);
        return line(dialect.write4(s.to, text(s.at), [a, b, c, d]));
      }
      case "tf32":
        if (dialect.tf32 === undefined) throw ofCuda(s.kind);
        return line(dialect.tf32(localName(s.local.index), text(s.value)));
      case "mma": {
        if (dialect.mma === undefined) throw ofCuda(s.kind);
        const [s0, s1, s2, s3] = s.sums.map(({ index }) => localName(index));
        const [a0, a1, a2, a3] = s.a.map(text);
        return line(dialect.mma([s0, s1, s2, s3], [a0, a1, a2, a3], [text(s.b[0]), text(s.b[1])]));
      }
      case "barrier":
        return line(dialect.barrier(s.of));
      case "shuffle": {
        const found = within().shuffle(text(s.value), s.mask);
        return line(dialect.declare("f32", localName(s.local.index), found, false));
      }
      case "subgroupSize":
        return line(dialect.declare("i32", localName(s.local.index), within().size, false));
      case "bySubgroups":
        return bodyLines(subgroups === undefined ? s.otherwise : s.then, dialect, indent);
      case "uniform":
        return line(dialect.uniform(localName(s.local.index), text(s.value)));
      case "for": {
        const name = localName(s.counter.index);
        const start = dialect.declare("i32", name, text(s.begin), true);
        const step = dialect.constant("i32", s.step);
        const end = dialect.loopEnd(text(s.end), s.unroll);
        const head = `for (${start} ${name} < ${end}; ${name} += ${step}) {`;
        const before = dialect.unroll(s.unroll).flatMap(line);
        return [...before, ...line(head), ...inner(s.body), ...line("}")];
      }
      case "if": {
        const rest = s.otherwise.length === 0 ? [] : [...line("} else {"), ...inner(s.otherwise)];
        const head = line(`if ${condition(s.condition, dialect)} {`);
        return [...head, ...inner(s.then), ...rest, ...line("}")];
      }
      default:
        return s satisfies never;
    }
  });
}
