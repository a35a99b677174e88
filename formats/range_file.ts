/** Files that are read by ranges, of which no more is held than what was asked for. */

import { FormatError, systemError } from "./error.ts";

/** An open file. Dispose it. */
export class RangeFile implements Disposable {
  readonly bytes: number;
  readonly #file: Deno.FsFile;

  /** @throws FormatError where the file cannot be opened. */
  constructor(readonly path: string) {
    let file: Deno.FsFile | undefined;
    try {
      file = Deno.openSync(path);
      this.bytes = file.statSync().size;
      this.#file = file;
    } catch (error) {
      file?.close();
      throw systemError(path, "read", error);
    }
  }

  /**
   * Fills a view with the bytes from a position on.
   * @throws FormatError where the file ends before.
   */
  read(position: number, into: ArrayBufferView<ArrayBuffer>): void {
    try {
      this.#file.seekSync(position, Deno.SeekMode.Start);
      let rest = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
      while (rest.length > 0) {
        const count = this.#file.readSync(rest);
        if (count === null) {
          throw new FormatError({
            file: this.path,
            expected: `${into.byteLength} bytes at byte ${position}`,
            found: "the end of the file",
            advice: "the file was cut off: make it again",
          });
        }
        rest = rest.subarray(count);
      }
    } catch (error) {
      throw systemError(this.path, "read", error);
    }
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}
