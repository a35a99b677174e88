/** Bodies of GPU kernels with other numbers of locals, operands and shared arrays. */

import type { Expr } from "../language/syntax.ts";
import type { Four, GpuStatement, Local, Place } from "./language.ts";

/** New numbers by the old ones. */
export interface Numbers {
  local(index: number): number;
  place(place: Place): number;
}

/** A value with other numbers. */
function value<E extends Expr>(e: E, numbers: Numbers): E {
  const own = (part: Expr) => value(part, numbers);
  const renumber = (e: Expr): Expr => {
    switch (e.kind) {
      case "const":
        return e;
      case "local":
        return { ...e, index: numbers.local(e.index) };
      case "unary":
        return { ...e, a: own(e.a) };
      case "binary":
        return { ...e, a: own(e.a), b: own(e.b) };
      case "fma":
        return { ...e, a: own(e.a), b: own(e.b), c: own(e.c) };
      case "select":
        return { ...e, mask: own(e.mask), a: own(e.a), b: own(e.b) };
      default:
        throw new Error(`gpu kernel: ${e.kind} is of the CPU's kernels`);
    }
  };
  return renumber(e) as E;
}

const four = <T>([a, b, c, d]: Four<T>, of: (e: T) => T): Four<T> => [of(a), of(b), of(c), of(d)];

/** A body with other numbers. */
export function renumbered(body: readonly GpuStatement[], numbers: Numbers): GpuStatement[] {
  const own = <E extends Expr>(e: E): E => value(e, numbers);
  const named = (local: Local): Local => own(local);
  const placed = <P extends Place>(place: P): P => ({ ...place, index: numbers.place(place) });
  return body.map((s): GpuStatement => {
    switch (s.kind) {
      case "let":
      case "variable":
      case "set":
        return { ...s, local: named(s.local), value: own(s.value) };
      case "tf32":
        return { ...s, local: named(s.local), value: own(s.value) };
      case "mma": {
        const [b0, b1] = s.b;
        return { ...s, sums: four(s.sums, named), a: four(s.a, own), b: [own(b0), own(b1)] };
      }
      case "uniform":
        return { ...s, local: named(s.local), value: own(s.value) };
      case "read":
        return { ...s, local: named(s.local), from: placed(s.from), at: own(s.at) };
      case "read4":
        return { ...s, locals: four(s.locals, named), from: placed(s.from), at: own(s.at) };
      case "write":
        return { ...s, to: placed(s.to), at: own(s.at), value: own(s.value) };
      case "write4":
        return { ...s, to: placed(s.to), at: own(s.at), values: four(s.values, own) };
      case "barrier":
        return s;
      case "for":
        return {
          ...s,
          counter: named(s.counter),
          begin: own(s.begin),
          end: own(s.end),
          body: renumbered(s.body, numbers),
        };
      case "if":
        return {
          ...s,
          condition: own(s.condition),
          then: renumbered(s.then, numbers),
          otherwise: renumbered(s.otherwise, numbers),
        };
      case "shuffle":
        return { ...s, local: named(s.local), value: own(s.value) };
      case "subgroupSize":
        return { ...s, local: named(s.local) };
      case "bySubgroups":
        return {
          ...s,
          then: renumbered(s.then, numbers),
          otherwise: renumbered(s.otherwise, numbers),
        };
      default:
        return s satisfies never;
    }
  });
}

/** One more than the largest number of the locals that a body makes. */
export function localsOf(body: readonly GpuStatement[]): number {
  return body.reduce((most, s): number => {
    switch (s.kind) {
      case "let":
      case "variable":
      case "uniform":
      case "read":
      case "tf32":
        return Math.max(most, s.local.index + 1);
      case "read4":
        return Math.max(most, ...s.locals.map(({ index }) => index + 1));
      case "for":
        return Math.max(most, s.counter.index + 1, localsOf(s.body));
      case "if":
      case "bySubgroups":
        return Math.max(most, localsOf(s.then), localsOf(s.otherwise));
      case "set":
      case "write":
      case "write4":
      case "mma":
      case "barrier":
        return most;
      case "shuffle":
      case "subgroupSize":
        return Math.max(most, s.local.index + 1);
      default:
        return s satisfies never;
    }
  }, 0);
}
