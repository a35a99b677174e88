/** Walking the expressions of a kernel. */

import type { Expr, Statement } from "../language/syntax.ts";

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
      case "storeBytes":
        walk(s.at);
        walk(s.value);
        break;
      case "prefetch":
        walk(s.at);
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
      case "tile":
        if ("at" in s.action) walk(s.action.at);
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
    case "half":
    case "spread":
      return [e.a];
    case "binary":
    case "shuffle":
      return [e.a, e.b];
    case "quads":
      return e.parts;
    case "fma":
    case "dot":
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

/** The locals that statements set, loop counters included. */
export function setIn(list: readonly Statement[]): number[] {
  return list.flatMap((s) => {
    switch (s.kind) {
      case "set":
        return [s.local.index];
      case "for":
        return [s.counter.index, ...setIn(s.body)];
      case "if":
        return [...setIn(s.then), ...setIn(s.otherwise)];
      case "store":
      case "storeBytes":
      case "prefetch":
      case "zero":
      case "copy":
      case "tile":
        return [];
      default:
        return s satisfies never;
    }
  });
}

/** How often each local is set; a loop's counter counts as twice. */
export function countSets(list: readonly Statement[], locals: number): number[] {
  const counts = new Array<number>(locals).fill(0);
  for (const index of setIn(list)) counts[index]++;
  const counters = (inner: readonly Statement[]) => {
    for (const s of inner) {
      if (s.kind === "for") {
        counts[s.counter.index]++;
        counters(s.body);
      } else if (s.kind === "if") [s.then, s.otherwise].forEach(counters);
    }
  };
  counters(list);
  return counts;
}
