/** The frame of a recurrence's forward pass on a GPU: its state, token by token. */

import { type GpuBlock, gpuKernel, type OperandTypes } from "../block.ts";
import { elementAt, type HeadRows } from "../heads.ts";
import type { GpuKernel } from "../kernel.ts";
import type { Float, GpuCode, Index, Place } from "../language.ts";
import { TILE_THREADS } from "../matmul/products.ts";
import {
  atChunks,
  chunksOf,
  chunkState,
  type GpuWkvShape,
  groupHead,
  ownRows,
  rowsByName,
} from "./recurrence.ts";
import { foldRoom, loadState, type State, stateOf, storeState } from "./state.ts";

/** What a kernel of a recurrence is made for; the inputs are in the order of its operands. */
export interface GpuForwardShape<Name extends string> extends GpuWkvShape<Name> {
  /** Whether the states before every chunk are written too. */
  readonly keepStates: boolean;
}

/** What a recurrence works with. */
export interface Recurrence<Name extends string> {
  readonly rows: Readonly<Record<Name, HeadRows>>;
  readonly state: State;
  readonly room: ReturnType<typeof foldRoom>;
  /** Writes an element of a token's y. */
  giveY(token: Index): (element: Index, sum: Float) => void;
}

/** Sets up what a recurrence needs, and gives what is done for a token. */
type Tokens<Name extends string> = (
  k: GpuBlock,
  recurrence: Recurrence<Name>,
) => (token: Index) => void;

/**
 * The kernel of a recurrence. Operands: its inputs, state → y, last state and, where they are kept,
 * the chunk states.
 * @param flops of an element of the state and a token
 */
export function forwardRecurrence<Name extends string>(
  name: string,
  shape: GpuForwardShape<Name>,
  flops: number,
  tokens: Tokens<Name>,
): GpuKernel {
  const { batch, time, heads, width, inputs, keepStates } = shape;
  const states = keepStates ? chunksOf(time) : 0;
  const rows = Object.keys(inputs).length + 1;
  return {
    key: `${name} ${JSON.stringify(shape)}`,
    code: () => code(name, shape, tokens),
    groups: batch * heads,
    flops: flops * batch * time * heads * width * width,
    bytes: 4 * batch * heads * width * (rows * time + (2 + states) * width),
  };
}

function code<Name extends string>(
  name: string,
  shape: GpuForwardShape<Name>,
  tokens: Tokens<Name>,
): GpuCode {
  const { time, width, inputs, keepStates } = shape;
  const operands: OperandTypes = {
    ...Object.fromEntries(Object.keys(inputs).map((input) => [input, "f32" as const])),
    ...{ state: "f32", y: "+f32", last: "+f32" },
    ...(keepStates ? { states: "+f32" } : {}),
  };
  return gpuKernel(name, TILE_THREADS, operands, (k, all) => {
    const places = all as Readonly<Record<string, Place<"f32">>>;
    const head = groupHead(k, shape);
    const rows = rowsByName(k, places, inputs, head);
    const y = ownRows(k, places.y, shape, head);
    const state = stateOf(k, width);
    const giveY = (token: Index) => (element: Index, sum: Float) =>
      k.write(y.place, elementAt(y, token, element), sum);
    const step = tokens(k, { rows, state, room: foldRoom(k, width), giveY });
    loadState(k, state, places.state, head.state);
    k.for(0, time, 1, (token) => {
      if (keepStates) {
        atChunks(
          k,
          token,
          (chunk) => storeState(k, state, places.states, chunkState(k, time, width, chunk)),
        );
      }
      step(token);
    });
    storeState(k, state, places.last, head.state);
  });
}
