/** Tensors of safetensors files, read by ranges: a file is never held as a whole. */
import { decodeF32, decodeI32 } from "../elements.ts";
import { DTYPE_BYTES, elementCount } from "../dtype.ts";
import { FormatError, quote, systemError } from "../error.ts";
import {
  headerLength,
  LENGTH_BYTES,
  parseHeader,
  type SafetensorsHeader,
  type TensorInfo,
} from "./header.ts";

export type { TensorInfo } from "./header.ts";

/** Bytes that are converted at a time: a bf16 tensor is never held as bytes as a whole. */
const BLOCK_BYTES = 1 << 22;

/** One file with its checked header, open for reading. */
export interface OpenFile extends SafetensorsHeader {
  readonly path: string;
  readonly file: Deno.FsFile;
}

/**
 * Opens a file and checks its header.
 * @throws FormatError with all that is wrong with it.
 */
export function openFile(path: string): OpenFile {
  let file: Deno.FsFile | undefined;
  try {
    file = Deno.openSync(path);
    const { size, isFile, isDirectory } = file.statSync();
    if (!isFile) {
      throw new FormatError({
        file: path,
        expected: "a file",
        found: isDirectory ? "a folder" : "something else",
        advice: "check the path",
      });
    }
    const prefix = new Uint8Array(Math.min(LENGTH_BYTES, size));
    readFully(file, path, 0, prefix);
    const json = new Uint8Array(headerLength(prefix, size, path));
    readFully(file, path, LENGTH_BYTES, json);
    return { path, file, ...parseHeader(json, size, path) };
  } catch (error) {
    file?.close();
    throw systemError(path, "read", error);
  }
}

/** Fills the array with the bytes from `position` on. */
function readFully(file: Deno.FsFile, path: string, position: number, into: Uint8Array): void {
  // deno's type excludes shared memory, which reads as well.
  let rest = into as Uint8Array<ArrayBuffer>;
  file.seekSync(position, Deno.SeekMode.Start);
  while (rest.length > 0) {
    const count = file.readSync(rest);
    if (count === null) {
      throw new FormatError({
        file: path,
        expected: `${into.length} bytes at byte ${position}`,
        found: `the end of the file after ${into.length - rest.length}`,
        advice: "the file was cut off while it was being read: download it again",
      });
    }
    rest = rest.subarray(count);
  }
}

/** The tensors of one file, or of all the files of a checkpoint. Close it, or dispose it. */
export class TensorStore implements Disposable {
  /** Every tensor by its name. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly #files: ReadonlyMap<string, Deno.FsFile>;
  #closed = false;

  /**
   * @param path what messages name: the file or the folder
   * @param files open files, which this object closes
   * @param tensors those of the files' tensors that count
   */
  constructor(readonly path: string, files: readonly OpenFile[], tensors: readonly TensorInfo[]) {
    this.tensors = new Map(tensors.map((tensor) => [tensor.name, tensor]));
    this.metadata = files[0]?.metadata ?? {};
    this.#files = new Map(files.map(({ path, file }) => [path, file]));
  }

  /** @throws FormatError where there is no such tensor. */
  info(name: string): TensorInfo {
    const tensor = this.tensors.get(name);
    if (tensor !== undefined) return tensor;
    throw new FormatError({
      file: this.path,
      at: `tensor ${quote(name)}`,
      expected: "to be there",
      found: `no such name among ${this.tensors.size}`,
      advice: "check that the checkpoint is complete and of this architecture",
    });
  }

  /** The tensor's bytes as they are stored. */
  read(name: string): Uint8Array<ArrayBuffer> {
    const { file, begin, end } = this.info(name);
    const bytes = new Uint8Array(end - begin);
    this.#fill(file, begin, bytes);
    return bytes;
  }

  /**
   * The tensor as f32 numbers, row-major; F64 is rounded, all else exact. Fills and returns `into`
   * where it is given, which may lie in shared memory.
   * @throws FormatError for an integer that f32 does not hold; RangeError for an `into` of another
   * length.
   */
  readF32(name: string, into?: Float32Array): Float32Array {
    const info = this.info(name);
    const out = into ?? new Float32Array(elements(info));
    this.#checkLength(info, out);
    if (info.dtype === "F32") {
      this.#fill(info.file, info.begin, bytesOf(out));
    } else {
      this.#convert(
        info,
        (bytes, at, count) => decodeF32(info.dtype, bytes, out.subarray(at, at + count)),
      );
    }
    return out;
  }

  /**
   * Elements of a tensor as f32 numbers, row-major, from element `start` on: as many as `into` has.
   * @throws FormatError for an integer that f32 does not hold; RangeError for elements that the
   * tensor does not have.
   */
  readRangeF32(name: string, start: number, into: Float32Array): void {
    const info = this.info(name);
    const total = elements(info);
    if (!(start >= 0 && start + into.length <= total)) {
      throw new RangeError(
        `${quote(name)}: elements ${start} … ${start + into.length - 1} of ${total}`,
      );
    }
    const begin = info.begin + start * DTYPE_BYTES[info.dtype];
    if (info.dtype === "F32") return this.#fill(info.file, begin, bytesOf(into));
    this.#convert(
      info,
      (bytes, at, count) => decodeF32(info.dtype, bytes, into.subarray(at, at + count)),
      { start, count: into.length },
    );
  }

  /**
   * The integers of a tensor.
   * @throws FormatError for a floating-point tensor and for a value that i32 does not hold;
   * RangeError for an `into` of another length.
   */
  readI32(name: string, into?: Int32Array): Int32Array {
    const info = this.info(name);
    const out = into ?? new Int32Array(elements(info));
    this.#checkLength(info, out);
    this.#convert(
      info,
      (bytes, at, count) => decodeI32(info.dtype, bytes, out.subarray(at, at + count)),
    );
    return out;
  }

  /** Closes the files. Nothing can be read afterwards. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const file of this.#files.values()) file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #checkLength(info: TensorInfo, into: ArrayLike<number>): void {
    if (into.length === elements(info)) return;
    throw new RangeError(
      `${quote(info.name)} has ${elements(info)} elements, the array ${into.length}`,
    );
  }

  #convert(
    info: TensorInfo,
    convert: (bytes: Uint8Array, at: number, count: number) => void,
    { start, count: total } = { start: 0, count: elements(info) },
  ): void {
    const size = DTYPE_BYTES[info.dtype];
    const block = new Uint8Array(Math.min(BLOCK_BYTES, total * size));
    for (let at = 0; at < total; at += BLOCK_BYTES / size) {
      const count = Math.min(BLOCK_BYTES / size, total - at);
      const bytes = block.subarray(0, count * size);
      this.#fill(info.file, info.begin + (start + at) * size, bytes);
      try {
        convert(bytes, at, count);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        throw new FormatError({
          file: info.file,
          at: `tensor ${quote(info.name)}`,
          expected: "values that can be read as asked",
          found: `${info.dtype} ${
            start + at === 0 ? "" : `from element ${start + at}: `
          }${error.message}`,
        }, { cause: error });
      }
    }
  }

  #fill(path: string, position: number, into: Uint8Array): void {
    const file = this.#files.get(path);
    if (file === undefined || this.#closed) throw new Error(`${path}: read after it was closed`);
    try {
      readFully(file, path, position, into);
    } catch (error) {
      throw systemError(path, "read", error);
    }
  }
}

function elements({ shape }: TensorInfo): number {
  // The header was checked: the product is exact.
  return elementCount(shape) as number;
}

function bytesOf(values: ArrayBufferView): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/**
 * Opens a single safetensors file.
 * @throws FormatError with all that is wrong with its header.
 */
export function openSafetensors(path: string): TensorStore {
  const file = openFile(path);
  return new TensorStore(path, [file], file.tensors);
}
