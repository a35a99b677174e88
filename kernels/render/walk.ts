/** Walking the expressions of a kernel. */

import type { Expr, Statement } from "../language.ts";

/** Calls `visit` with every expression inside loops. */
export function eachLoopExpression(
  list: readonly Statement[],
  inLoop: boolean,
  visit: (e: Expr) => void,
): void {
  const walk = (e: Expr) => {
    if (!inLoop) return;
    visit(e);
    for (const part of parts(e)) walk(part);
  };
  for (const s of list) {
    switch (s.kind) {
      case "set":
        walk(s.value);
        break;
      case "store":
        walk(s.at);
        walk(s.value);
        break;
      case "zero":
        walk(s.at);
        walk(s.bytes);
        break;
      case "copy":
        walk(s.from);
        walk(s.to);
        walk(s.bytes);
        break;
      case "for":
        eachLoopExpression(s.body, true, visit);
        break;
      case "if":
        walk(s.condition);
        eachLoopExpression(s.then, inLoop, visit);
        eachLoopExpression(s.otherwise, inLoop, visit);
        break;
      default:
        s satisfies never;
    }
  }
}

/** The expressions that an expression is made of. */
function parts(e: Expr): readonly Expr[] {
  switch (e.kind) {
    case "const":
    case "vector":
    case "local":
      return [];
    case "unary":
    case "splat":
    case "lane":
      return [e.a];
    case "binary":
    case "shuffle":
      return [e.a, e.b];
    case "fma":
      return [e.a, e.b, e.c];
    case "load":
      return [e.at];
    case "select":
      return [e.a, e.b, e.mask];
    case "offset":
      return [e.base, e.bytes];
    default:
      return e satisfies never;
  }
}
