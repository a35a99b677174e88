/** Numbers that are none: where they are, and the error that they end a run with. */

import type { Store } from "../devices/store.ts";

/** Training or measuring became meaningless: a value that is not a number. */
export class NotFiniteError extends Error {
  override readonly name = "NotFiniteError";
}

/** The first tensor of a store, in the order of the checkpoint, with a value that is not finite. */
export async function firstNotFinite(store: Store): Promise<string | undefined> {
  for (const { name } of store.layout.tensors) {
    const values = await store.read(name);
    for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return name;
  }
  return undefined;
}

/** The first tensor of some stores with a value that is not finite, in words that end a message. */
export async function culpritIn(
  stores: readonly (readonly [what: string, store: Store | undefined])[],
): Promise<string> {
  for (const [what, store] of stores) {
    const name = store && await firstNotFinite(store);
    if (name !== undefined) return `the first tensor that is not finite is ${what}${name}`;
  }
  return "every tensor is finite";
}
