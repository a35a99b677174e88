import * as g from "../../../graph/build.ts";
import { outputsOf } from "../../../graph/rewrite.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import { type CaseInput, type OpCase, opCase, real } from "../op_case.ts";

/** Batch, time, heads, width. */
type Size = readonly [number, number, number, number];

const sizes: readonly Size[] = [
  [1, 1, 1, 8],
  [2, 5, 3, 8],
  [1, 15, 2, 16],
  [3, 16, 1, 8],
  [2, 17, 2, 12],
  [1, 32, 2, 32],
  [1, 33, 1, 64],
  [2, 49, 1, 16],
  [1, 18, 1, 128],
  [3, 20, 4, 8],
  [1, 64, 2, 64],
];

/** Decays from 0, where a state is forgotten at once, to 1, where it is kept for ever. */
const decays: readonly (readonly [string, number, number])[] = [
  ["strong decay", 0, 0.01],
  ["the strongest decay of RAD-RWKV6", Math.exp(-5), Math.exp(-5)],
  ["no decay", 1, 1],
  ["every decay", 0, 1],
];

/** What the recurrence takes besides r, w, k, v and the state. */
type More = "kappa" | "a";
type Named = Readonly<Record<string, Tensor>>;
type Recurrence = (inputs: Named, state: Tensor) => { y: Tensor; state: Tensor };

/** Inputs; |κ| stays near 1, as it is in the model, so that the recurrence is stable. */
function inputsOf(size: Size, low: number, high: number, more: readonly More[]) {
  const [batch, , heads, width] = size;
  const key = Math.sqrt(3 / width);
  const others = { kappa: real(size, -key, key), a: real(size, 0, 1) };
  return {
    r: real(size),
    w: real(size, low, high),
    k: real(size, -key, key),
    v: real(size),
    ...Object.fromEntries(more.map((name) => [name, others[name]])),
    state: real([batch, heads, width, width]),
  } satisfies Record<string, CaseInput>;
}

function casesOf(name: string, recurrence: Recurrence, more: readonly More[]): OpCase[] {
  const inputs = (size: Size, low = 0.3, high = 1) => inputsOf(size, low, high, more);
  const both = (what: string, given: ReturnType<typeof inputs>): OpCase[] => [
    opCase(what, given, ({ state, ...rest }) => {
      const result = recurrence(rest, state);
      return [result.y, result.state];
    }),
    opCase(
      `${what}, chunk states`,
      given,
      ({ state, ...rest }) => outputsOf(recurrence(rest, state).y.node),
      [],
    ),
  ];
  return [
    ...sizes.flatMap((size) => both(`${name} [${size.join(", ")}]`, inputs(size))),
    ...decays.flatMap(([what, low, high]) =>
      both(`${name} with ${what}`, inputs([1, 37, 2, 8], low, high))
    ),
    opCase(
      `${name} from nothing, only y`,
      inputs([1, 21, 2, 8]),
      ({ state, ...rest }) => recurrence(rest, g.mul(state, 0)).y,
    ),
    opCase(
      `${name}, only the last state`,
      inputs([1, 21, 2, 8]),
      ({ state, ...rest }) => recurrence(rest, state).state,
    ),
  ];
}

/** The recurrences of RWKV-6 and RWKV-7. */
export const wkvCases: readonly OpCase[] = [
  ...casesOf("wkv6", ({ r, w, k, v }, state) => g.wkv6({ r, w, k, v }, state), []),
  ...casesOf(
    "wkv7",
    ({ r, w, k, v, kappa, a }, state) => g.wkv7({ r, w, k, v, kappa, a }, state),
    ["kappa", "a"],
  ),
];
