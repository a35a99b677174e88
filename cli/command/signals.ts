/** Signals that ask a program to end. */

import type { StopRequest } from "../../train/run.ts";

const SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM"];

/**
 * Listens for the first signal that asks the program to end, and tells of it. The second one ends
 * the program at once, as does any once this is disposed.
 */
export function listenForStop(onStop: () => void): StopRequest {
  let wanted = false;
  let listens = true;
  const end = () => {
    if (!listens) return;
    listens = false;
    for (const signal of SIGNALS) Deno.removeSignalListener(signal, stop);
  };
  const stop = () => {
    wanted = true;
    end();
    onStop();
  };
  for (const signal of SIGNALS) Deno.addSignalListener(signal, stop);
  return {
    get wanted() {
      return wanted;
    },
    [Symbol.dispose]: end,
  };
}
