/** What programs share, since they run one at a time: an arena, and scratch memory of every thread. */

import type { Heap } from "./heap.ts";

/** Memory for the intermediate results of whichever program runs. */
export interface Arena {
  readonly address: number;
  /** One address a thread. */
  readonly scratch: readonly number[];
  /** Another number whenever something has moved: programs are then to be linked again. */
  readonly layout: number;
  /**
   * Makes room for a program. Throws a RangeError where there is none; what there was then stays as
   * large as it was.
   */
  reserve(arenaBytes: number, scratchBytes: number): void;
  release(): void;
}

/** An arena for so many threads, of nothing as yet. */
export function createArena(heap: Heap, threads: number): Arena {
  let layout = 0;
  /** So many pieces of one size, which grow together. */
  const pieces = (count: number) => {
    const nowhere: readonly number[] = new Array<number>(count).fill(0);
    let addresses = nowhere;
    let bytes = 0;
    const release = () => {
      if (bytes > 0) addresses.forEach((address) => heap.free(address));
      [addresses, bytes] = [nowhere, 0];
      layout++;
    };
    const allocate = (wanted: number) => {
      const made: number[] = [];
      try {
        for (let i = 0; i < count; i++) made.push(heap.allocate(wanted));
      } catch (error) {
        made.forEach((address) => heap.free(address));
        throw error;
      }
      [addresses, bytes] = [made, wanted];
    };
    return {
      addresses: () => addresses,
      release,
      grow: (wanted: number) => {
        if (wanted <= bytes) return;
        const before = bytes;
        release();
        try {
          allocate(wanted);
        } catch (error) {
          // Programs that are bound already go on in as much as they had.
          if (before > 0) allocate(before);
          throw error;
        }
      },
    };
  };
  const [arena, scratch] = [pieces(1), pieces(threads)];
  return {
    get address() {
      return arena.addresses()[0];
    },
    get scratch() {
      return scratch.addresses();
    },
    get layout() {
      return layout;
    },
    reserve: (arenaBytes, scratchBytes) => {
      arena.grow(arenaBytes);
      scratch.grow(scratchBytes);
    },
    release: () => {
      arena.release();
      scratch.release();
    },
  };
}
