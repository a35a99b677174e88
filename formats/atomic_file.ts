/**
 * Files that are there in full or not at all: written beside as `NAME.partial`, flushed to the
 * device, renamed. Whatever happens before the rename leaves the old file as it was.
 */
import { dirname } from "node:path";
import { systemError } from "./error.ts";

/** One file while it is being written. Dispose it: what was not committed is removed. */
export class AtomicFile implements Disposable {
  readonly #partial: string;
  #file: Deno.FsFile | undefined;
  #settled = false;

  /**
   * Starts `path`.partial, and the folders above it. A partial file that an interrupted run left is
   * removed, never followed or appended to.
   * @throws FormatError where the system refuses.
   */
  constructor(readonly path: string) {
    this.#partial = `${path}.partial`;
    this.#guard(() => {
      removeFile(this.#partial);
      this.#file = createFile(this.#partial);
    });
  }

  /** Appends all of the bytes. */
  write(bytes: Uint8Array): void {
    const file = this.#file;
    if (file === undefined) throw new Error(`${this.path}: written to after it was finished`);
    this.#guard(() => {
      // deno's type excludes shared memory, which writes as well.
      for (let rest = bytes as Uint8Array<ArrayBuffer>; rest.length > 0;) {
        rest = rest.subarray(file.writeSync(rest));
      }
    });
  }

  /** Flushes to the device and closes; `commit` is then a rename. Nothing if done already. */
  finish(): void {
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    this.#guard(() => {
      try {
        file.syncSync();
      } finally {
        file.close();
      }
    });
  }

  /** Puts the file in its place. */
  commit(): void {
    this.finish();
    this.#guard(() => Deno.renameSync(this.#partial, this.path));
    this.#settled = true;
    syncFolder(dirname(this.path));
  }

  /** Removes the partial file unless it was committed. */
  [Symbol.dispose](): void {
    if (this.#settled) return;
    this.#settled = true;
    try {
      this.#file?.close();
      removeFile(this.#partial);
    } catch {
      // The reason to give up is the one to report.
    }
    this.#file = undefined;
  }

  #guard(act: () => void): void {
    try {
      act();
    } catch (error) {
      this[Symbol.dispose]();
      throw systemError(this.path, "write", error);
    }
  }
}

/**
 * Writes a file in one go. Content that is made while it is written may throw: the old file stays,
 * the partial one goes.
 * @throws FormatError where the system refuses, and whatever the content throws.
 */
export function writeFileAtomic(
  path: string,
  content: string | Uint8Array | Iterable<Uint8Array>,
): void {
  using file = new AtomicFile(path);
  if (typeof content === "string") file.write(new TextEncoder().encode(content));
  else if (content instanceof Uint8Array) file.write(content);
  else for (const bytes of content) file.write(bytes);
  file.commit();
}

/** `writeFileAtomic` for JSON: two spaces, a newline at the end. */
export function writeJsonAtomic(path: string, value: unknown): void {
  writeFileAtomic(path, `${JSON.stringify(value, null, 2)}\n`);
}

/** A new file, and the folders above it: a folder that is there needs no permission. */
function createFile(path: string): Deno.FsFile {
  const create = () => Deno.openSync(path, { write: true, createNew: true });
  try {
    return create();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  Deno.mkdirSync(dirname(path), { recursive: true });
  return create();
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Makes a rename last through a loss of power, where the system lets a folder be flushed. */
function syncFolder(path: string): void {
  try {
    using folder = Deno.openSync(path);
    folder.syncSync();
  } catch {
    // Windows refuses to open folders; the rename is done all the same.
  }
}
