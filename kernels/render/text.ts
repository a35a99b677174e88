/** Kernels as text for people, with the values and statements of the kernel language. */

import type { Expr, KernelCode, Statement, TileAction } from "../language/syntax.ts";

const SIGNS: Readonly<Record<string, string>> = {
  add: "+",
  sub: "-",
  mul: "*",
  div: "/",
  rem: "%",
  lt: "<",
  eq: "==",
  and: "&",
  xor: "^",
  shl: "<<",
  shr: ">>",
};

/** What a memory access is at. */
const place = (at: Expr, bytes: number) =>
  bytes === 0 ? `[${exprText(at)}]` : `[${exprText(at)} + ${bytes}]`;

/** An operand: in brackets where it is not one word. */
function inner(e: Expr): string {
  const own = exprText(e);
  return e.kind === "binary" && SIGNS[e.op] !== undefined || e.kind === "offset" ? `(${own})` : own;
}

/** A value as text. */
function exprText(e: Expr): string {
  switch (e.kind) {
    case "const":
      return e.type === "i32" ? `${e.value}` : `${e.type}(${e.value})`;
    case "vector":
      return `${e.type}(${e.values.join(", ")})`;
    case "local":
      return `${e.type === "i32" ? "i" : e.type === "ptr" ? "p" : "v"}${e.index}`;
    case "unary":
      return `${e.op}(${exprText(e.a)})`;
    case "binary": {
      const sign = SIGNS[e.op];
      return sign === undefined
        ? `${e.op}(${exprText(e.a)}, ${exprText(e.b)})`
        : `${inner(e.a)} ${sign} ${inner(e.b)}`;
    }
    case "fma":
      return `fma(${exprText(e.a)}, ${exprText(e.b)}, ${exprText(e.c)})`;
    case "load":
      return `${e.type}${e.as === "splat" || e.as === "quad" ? `.${e.as}` : ""}${
        place(e.at, e.offset)
      }`;
    case "select":
      return `select(${exprText(e.mask)}, ${exprText(e.a)}, ${exprText(e.b)})`;
    case "splat":
      return `splat(${exprText(e.a)})`;
    case "lane":
      return `${inner(e.a)}.${e.lane}`;
    case "half":
      return `${inner(e.a)}.half${e.half}`;
    case "shuffle":
      return `shuffle(${exprText(e.a)}, ${exprText(e.b)}, ${e.lanes.join(" ")})`;
    case "quads":
      return `quads(${e.parts.map(exprText).join(", ")})`;
    case "dot":
      return `dot(${exprText(e.a)}, ${exprText(e.b)}, ${exprText(e.c)})`;
    case "spread":
      return `${e.type}.spread(${exprText(e.a)}, ${e.first}, ${e.times})`;
    case "offset":
      return `${inner(e.base)} + ${inner(e.bytes)}`;
    default:
      return e satisfies never;
  }
}

function statementLines(s: Statement): string[] {
  switch (s.kind) {
    case "set":
      return [`${exprText(s.local)} = ${exprText(s.value)}`];
    case "store":
      return [`${s.value.type}${place(s.at, s.offset)} = ${exprText(s.value)}`];
    case "storeBytes":
      return [`bytes${place(s.at, s.offset)} = ${exprText(s.value)}`];
    case "prefetch":
      return [`prefetch ${place(s.at, s.offset)} into L${s.cache}`];
    case "zero":
      return [`zero ${place(s.at, 0)}, ${exprText(s.bytes)} bytes`];
    case "copy":
      return [`copy ${place(s.from, 0)} to ${place(s.to, 0)}, ${exprText(s.bytes)} bytes`];
    case "for": {
      const range = `${exprText(s.begin)} … ${exprText(s.end)}`;
      const step = s.step === 1 ? "" : ` by ${s.step}`;
      return [`for ${exprText(s.counter)} in ${range}${step}:`, ...indented(s.body)];
    }
    case "if":
      return [
        `if ${exprText(s.condition)}:`,
        ...indented(s.then),
        ...(s.otherwise.length === 0 ? [] : ["else:", ...indented(s.otherwise)]),
      ];
    case "tile":
      return [tileText(s.tile, s.action)];
    default:
      return s satisfies never;
  }
}

function tileText(tile: number, action: TileAction): string {
  switch (action.op) {
    case "zero":
      return `t${tile} = 0`;
    case "load":
      return `t${tile} = ${place(action.at, action.offset)} by ${action.stride}`;
    case "store":
      return `${place(action.at, action.offset)} by ${action.stride} = t${tile}`;
    case "product":
      return `t${tile} += t${action.left} t${action.right}`;
    default:
      return action satisfies never;
  }
}

const indented = (list: readonly Statement[]) =>
  list.flatMap(statementLines).map((line) => `  ${line}`);

/** A kernel's code. Locals are `v3` for numbers, `i3` for indices and `p3` for addresses. */
export function kernelText({ name, parameters, body }: KernelCode): string {
  const words = parameters.map((type, index) =>
    exprText({ kind: "local", type, index } as Expr) + `: ${type}`
  );
  return [`kernel ${name}(${words.join(", ")}):`, ...indented(body), ""].join("\n");
}
