/**
 * Writing tensors as one safetensors file, byte for byte as the reference does: tensors by width of
 * their type, then by name; the header padded with spaces to a multiple of 8 bytes.
 */
import { AtomicFile } from "../atomic_file.ts";
import { encode } from "../elements.ts";
import { type Dtype, tensorBytes } from "../dtype.ts";
import { quote, show } from "../error.ts";
import { HEADER_LIMIT, isSize, LENGTH_BYTES, METADATA_KEY } from "./header.ts";

/** Elements to be stored: bytes as they are, or numbers that are converted to the tensor's type. */
export type TensorData = Uint8Array | Float32Array | Int32Array;

/** A tensor to be written. */
export interface TensorSource {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** The elements, or a function that makes them, at once or in pieces, when their turn comes. */
  readonly data: TensorData | (() => TensorData | Iterable<TensorData>);
}

/** What transformers asks a file to say of itself. */
export const DEFAULT_METADATA: Readonly<Record<string, string>> = Object.freeze({ format: "pt" });

/** Elements that are converted at a time. */
const BLOCK_ELEMENTS = 1 << 20;

/**
 * Writes one file, beside and renamed. Data is made and written tensor by tensor.
 * @throws FormatError where the system refuses; RangeError for a reserved or repeated name, data
 * that does not fill the shape, or values that the type does not hold. The old file then stays.
 */
export function writeSafetensors(
  path: string,
  tensors: readonly TensorSource[],
  metadata: Readonly<Record<string, string>> = DEFAULT_METADATA,
): void {
  using file = new AtomicFile(path);
  writeTensors(file, tensors, metadata);
  file.commit();
}

/** Writes header and data, and leaves committing to the caller. */
export function writeTensors(
  file: AtomicFile,
  tensors: readonly TensorSource[],
  metadata: Readonly<Record<string, string>>,
): void {
  const ordered = inWriteOrder(tensors);
  file.write(formatHeader(ordered, metadata));
  for (const tensor of ordered) {
    const expected = sourceBytes(tensor);
    let written = 0;
    const data = typeof tensor.data === "function" ? tensor.data() : tensor.data;
    for (const piece of ArrayBuffer.isView(data) ? [data] : data) {
      for (const bytes of encoded(tensor, piece)) {
        written += bytes.length;
        if (written > expected) break;
        file.write(bytes);
      }
      if (written > expected) break;
    }
    if (written !== expected) {
      throw new RangeError(
        `tensor ${quote(tensor.name)}: ${tensor.dtype} ${show(tensor.shape)} takes ${expected} ` +
          `bytes, its data ${written > expected ? "has more" : `has ${written}`}`,
      );
    }
  }
}

/** Bytes of the tensor's data by its shape. @throws RangeError where the shape is none. */
export function sourceBytes({ name, dtype, shape }: TensorSource): number {
  const bytes = shape.every(isSize) ? tensorBytes(dtype, shape) : undefined;
  if (bytes !== undefined) return bytes;
  throw new RangeError(`tensor ${quote(name)} has the impossible shape ${show(shape)}`);
}

function* encoded({ name, dtype }: TensorSource, data: TensorData): Iterable<Uint8Array> {
  if (data instanceof Uint8Array) return yield data;
  for (let at = 0; at < data.length; at += BLOCK_ELEMENTS) {
    const block = data.subarray(at, at + BLOCK_ELEMENTS);
    try {
      yield encode(dtype, block);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new RangeError(`tensor ${quote(name)}, from element ${at}: ${error.message}`, {
        cause: error,
      });
    }
  }
}

/** Types by alignment, the widest first: the order in which the reference writes. */
const WRITE_ORDER: readonly Dtype[] = [
  "I64",
  "F64",
  "F32",
  "I32",
  "BF16",
  "F16",
  "I16",
  "I8",
  "U8",
  "BOOL",
];

/** Tensors in the reference's order: by type, the widest first, then by name. */
function inWriteOrder(tensors: readonly TensorSource[]): TensorSource[] {
  const rank = (tensor: TensorSource) => WRITE_ORDER.indexOf(tensor.dtype);
  const compareNames = (a: string, b: string) => a < b ? -1 : a > b ? 1 : 0;
  return [...tensors].sort((a, b) => rank(a) - rank(b) || compareNames(a.name, b.name));
}

/**
 * Length and JSON of a header for tensors that follow each other in this order, padded with spaces
 * so that the data begins at a multiple of 8 bytes. For data that comes too late for `writeTensors`.
 */
export function formatHeader(
  tensors: readonly TensorSource[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const header = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) header.set(METADATA_KEY, metadata);
  let offset = 0;
  for (const tensor of tensors) {
    const { name, dtype, shape } = tensor;
    if (name === METADATA_KEY) throw new RangeError(`no tensor may be named ${METADATA_KEY}`);
    if (header.has(name)) throw new RangeError(`two tensors are named ${quote(name)}`);
    const bytes = sourceBytes(tensor);
    header.set(name, { dtype, shape, data_offsets: [offset, offset + bytes] });
    offset += bytes;
  }
  // By hand, because an object would put names that look like numbers first.
  const entries = [...header].map(([key, value]) =>
    `${JSON.stringify(key)}:${JSON.stringify(value)}`
  );
  const json = new TextEncoder().encode(`{${entries.join(",")}}`);
  const length = Math.ceil(json.length / LENGTH_BYTES) * LENGTH_BYTES;
  if (length > HEADER_LIMIT) {
    throw new RangeError(`a header of ${length} bytes exceeds the cap of ${HEADER_LIMIT}`);
  }
  const bytes = new Uint8Array(LENGTH_BYTES + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(json, LENGTH_BYTES);
  return bytes;
}
