import * as g from "../../../graph/build.ts";
import { outputsOf } from "../../../graph/rewrite.ts";
import { type CaseInput, type OpCase, opCase, real } from "../op_case.ts";

/** Batch, time, heads, width. */
type Size = readonly [number, number, number, number];

const sizes: readonly Size[] = [
  [1, 1, 1, 8],
  [2, 5, 3, 8],
  [1, 15, 2, 16],
  [3, 16, 1, 8],
  [2, 17, 2, 12],
  [1, 33, 1, 64],
  [2, 49, 1, 16],
  [1, 18, 1, 128],
  [1, 64, 2, 64],
];

/** Decays from 0, where a state is forgotten at once, to 1, where it is kept for ever. */
const decays: readonly (readonly [string, number, number])[] = [
  ["strong decay", 0, 0.01],
  ["the strongest decay of RAD-RWKV6", Math.exp(-5), Math.exp(-5)],
  ["no decay", 1, 1],
  ["every decay", 0, 1],
];

function inputsOf(size: Size, low: number, high: number) {
  const [batch, , heads, width] = size;
  const key = Math.sqrt(3 / width);
  return {
    r: real(size),
    w: real(size, low, high),
    k: real(size, -key, key),
    v: real(size),
    state: real([batch, heads, width, width]),
  } satisfies Record<string, CaseInput>;
}

function cases(name: string, inputs: ReturnType<typeof inputsOf>): OpCase[] {
  return [
    opCase(name, inputs, ({ state, ...rest }) => {
      const result = g.wkv6(rest, state);
      return [result.y, result.state];
    }),
    opCase(
      `${name}, chunk states`,
      inputs,
      ({ state, ...rest }) => outputsOf(g.wkv6(rest, state).y.node),
      [],
    ),
  ];
}

/** The RWKV-6 recurrence. */
export const wkv6Cases: readonly OpCase[] = [
  ...sizes.flatMap((size) => cases(`wkv6 [${size.join(", ")}]`, inputsOf(size, 0.3, 1))),
  ...decays.flatMap(([name, low, high]) =>
    cases(`wkv6 with ${name}`, inputsOf([1, 37, 2, 8], low, high))
  ),
  opCase(
    "wkv6 from nothing, only y",
    inputsOf([1, 21, 2, 8], 0.3, 1),
    ({ state, ...rest }) => g.wkv6(rest, g.mul(state, 0)).y,
  ),
  opCase(
    "wkv6, only the last state",
    inputsOf([1, 21, 2, 8], 0.3, 1),
    ({ state, ...rest }) => g.wkv6(rest, state).state,
  ),
];
