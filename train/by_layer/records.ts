/** Arrays of one length in a file, each at its place: streams that do not fit in memory. */

import { FormatError, systemError } from "../../formats/error.ts";

/** An open file of records. Dispose it. */
export interface Records extends Disposable {
  /** f32 numbers of a record. */
  readonly length: number;
  read(index: number, into: Float32Array<ArrayBuffer>): void;
  write(index: number, values: Float32Array<ArrayBuffer>): void;
  /** Returns when everything that was written is on the disk. */
  sync(): void;
}

/**
 * Opens a file of records of `length` f32 numbers, or makes it.
 * @throws FormatError, here and later, where the system refuses or a record is not there.
 */
export function openRecords(path: string, length: number): Records {
  const guard = <T>(what: "read" | "write", act: () => T): T => {
    try {
      return act();
    } catch (error) {
      throw systemError(path, what, error);
    }
  };
  const file = guard(
    "write",
    () => Deno.openSync(path, { read: true, write: true, create: true }),
  );
  const bytesOf = (values: Float32Array<ArrayBuffer>) => {
    if (values.length !== length) throw new RangeError(`${path}: ${values.length} of ${length}`);
    return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  };
  return {
    length,
    read: (index, into) =>
      guard("read", () => {
        file.seekSync(4 * length * index, Deno.SeekMode.Start);
        for (let rest = bytesOf(into); rest.length > 0;) {
          const count = file.readSync(rest);
          if (count === null) {
            throw new FormatError({
              file: path,
              at: `record ${index}`,
              expected: `${4 * length} bytes`,
              found: "the end of the file",
              advice: "run it with --restart, which starts afresh",
            });
          }
          rest = rest.subarray(count);
        }
      }),
    write: (index, values) =>
      guard("write", () => {
        file.seekSync(4 * length * index, Deno.SeekMode.Start);
        for (let rest = bytesOf(values); rest.length > 0;) {
          rest = rest.subarray(file.writeSync(rest));
        }
      }),
    sync: () => guard("write", () => file.syncDataSync()),
    [Symbol.dispose]: () => file.close(),
  };
}
