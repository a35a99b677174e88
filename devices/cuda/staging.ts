/** Copies to the device that do not wait: data goes through page-locked memory of the host. */

import { type DriverCalls, pointerIn } from "./driver.ts";

/** Copies in the order of a stream. The data may change as soon as the call is back. */
export interface Staging {
  write(address: bigint, data: Uint8Array): void;
  free(): void;
}

/** Two pieces: while the device copies from one, the other is filled. */
const PIECES = 2;
const PIECE_BYTES = 4 << 20;

/** Makes the page-locked memory of a stream. */
export function createStaging(calls: DriverCalls, stream: Deno.PointerValue): Staging {
  const cell = new BigUint64Array(1);
  calls.cuMemHostAlloc(cell, BigInt(PIECES * PIECE_BYTES), 0);
  const memory = pointerIn(cell);
  const base = cell[0];
  const host = new Uint8Array(
    Deno.UnsafePointerView.getArrayBuffer(memory!, PIECES * PIECE_BYTES),
  );
  const pieces = Array.from({ length: PIECES }, (_, i) => {
    calls.cuEventCreate(cell, 0);
    const offset = i * PIECE_BYTES;
    const copied = pointerIn(cell);
    return { offset, copied, source: Deno.UnsafePointer.create(base + BigInt(offset)) };
  });
  let next = 0;
  return {
    write: (address, data) => {
      for (let begin = 0; begin < data.length; begin += PIECE_BYTES) {
        const part = data.subarray(begin, begin + PIECE_BYTES);
        const { offset, copied, source } = pieces[next];
        next = (next + 1) % PIECES;
        // An event that was never recorded counts as reached.
        calls.cuEventSynchronize(copied);
        host.set(part, offset);
        const to = address + BigInt(begin);
        calls.cuMemcpyHtoDAsync_v2(to, source, BigInt(part.length), stream);
        calls.cuEventRecord(copied, stream);
      }
    },
    free: () => {
      calls.cuStreamSynchronize(stream);
      pieces.forEach(({ copied }) => calls.cuEventDestroy_v2(copied));
      calls.cuMemFreeHost(memory);
    },
  };
}
