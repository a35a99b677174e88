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
