/** Whoever reads what a command writes: how wide that may be. */

/** Columns of the terminal that a stream writes to; Infinity where it writes to none. */
export function terminalColumns(stream: { isTerminal(): boolean }): number {
  if (!stream.isTerminal()) return Infinity;
  try {
    return Deno.consoleSize().columns || 80;
  } catch {
    return 80;
  }
}
