/**
 * The header of a safetensors file: u64 length, JSON of that length, then the data without gaps.
 * Everything in it is a stranger's until it has been checked here.
 */
import { type Dtype, DTYPE_BYTES, DTYPES, isDtype, tensorBytes } from "../dtype.ts";
import { FormatError, type Problem, quote, show } from "../error.ts";
import { decodeUtf8, duplicateKeys, isJsonObject, parseJson } from "../json.ts";

/** The largest header that is read: 100 MB, as in the reference implementation. */
export const HEADER_LIMIT = 100_000_000;

/** Bytes of the header's length at the start of the file. */
export const LENGTH_BYTES = 8;

/** A tensor in a file. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Path of the file. */
  readonly file: string;
  /** Byte in the file at which the tensor begins. */
  readonly begin: number;
  /** Byte after its last. */
  readonly end: number;
}

/** What a checked header says. Tensors are in the order of their bytes. */
export interface SafetensorsHeader {
  readonly tensors: readonly TensorInfo[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** The key that holds the metadata, and no tensor. */
export const METADATA_KEY = "__metadata__";

/**
 * Length of the header, checked against cap and file.
 * @param prefix the first 8 bytes, or fewer where the file is shorter
 */
export function headerLength(prefix: Uint8Array, fileBytes: number, file: string): number {
  if (prefix.length < LENGTH_BYTES) {
    throw new FormatError({
      file,
      expected: "a safetensors file, at least 8 bytes",
      found: `${prefix.length} bytes`,
      advice: "download it again",
    });
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  if (length > BigInt(HEADER_LIMIT)) {
    throw new FormatError({
      file,
      at: "header",
      expected: `at most ${HEADER_LIMIT} bytes`,
      found: `a length of ${length}`,
      advice: "this is no safetensors file, or a damaged one",
    });
  }
  const available = fileBytes - LENGTH_BYTES;
  if (length > BigInt(available)) {
    throw new FormatError({
      file,
      at: "header",
      expected: `${length} bytes, as the file says`,
      found: `${available}`,
      advice: "the file is cut off: download it again",
    });
  }
  return Number(length);
}

/**
 * Reads and checks the JSON part.
 * @throws FormatError with every problem of the header.
 */
export function parseHeader(json: Uint8Array, fileBytes: number, file: string): SafetensorsHeader {
  const text = decodeUtf8(json, file, "header");
  const header = parseJson(text, file, "header");
  if (!isJsonObject(header)) {
    throw new FormatError({
      file,
      at: "header",
      expected: "a JSON object",
      found: show(header),
      advice: "this is no safetensors file",
    });
  }
  const problems: Problem[] = duplicateKeys(text).map((key) => ({
    file,
    at: `header key ${quote(key)}`,
    expected: "to be there once",
    found: "it twice",
    advice: "the file is ambiguous: write it again with another tool",
  }));
  const dataStart = LENGTH_BYTES + json.length;
  const metadata = readMetadata(header[METADATA_KEY], file, problems);
  const tensors: TensorInfo[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === METADATA_KEY) continue;
    const tensor = readTensor(name, value, dataStart, file, problems);
    if (tensor !== undefined) tensors.push(tensor);
  }
  // An empty tensor comes before the one that begins where it does.
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
  if (problems.length === 0) checkCoverage(tensors, dataStart, fileBytes, file, problems);
  if (problems.length > 0) throw new FormatError(problems);
  return { tensors, metadata };
}

function readMetadata(
  value: unknown,
  file: string,
  problems: Problem[],
): Readonly<Record<string, string>> {
  if (value === undefined) return Object.freeze({});
  const at = METADATA_KEY;
  if (!isJsonObject(value)) {
    problems.push({ file, at, expected: "an object of texts", found: show(value) });
    return {};
  }
  for (const [key, item] of Object.entries(value)) {
    if (typeof item === "string") continue;
    problems.push({ file, at: `${at} ${quote(key)}`, expected: "a text", found: show(item) });
  }
  return Object.freeze(value as Record<string, string>);
}

/** Whether the value can be a length or an offset. */
export const isSize = (value: unknown): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

/** One entry of the header; `undefined`, with the problems noted, where something is wrong. */
function readTensor(
  name: string,
  value: unknown,
  dataStart: number,
  file: string,
  problems: Problem[],
): TensorInfo | undefined {
  const before = problems.length;
  const at = `tensor ${quote(name)}`;
  const wrong = (expected: string, found: string) => problems.push({ file, at, expected, found });
  if (!isJsonObject(value)) {
    wrong("an object with dtype, shape and data_offsets", show(value));
    return undefined;
  }
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDtype(dtype)) wrong(`a dtype of ${DTYPES.join(", ")}`, show(dtype));
  const shapeFits = Array.isArray(shape) && shape.every(isSize);
  if (!shapeFits) wrong("a shape of non-negative integers", show(shape));
  const offsetsFit = Array.isArray(offsets) && offsets.length === 2 && offsets.every(isSize) &&
    offsets[0] <= offsets[1];
  if (!offsetsFit) wrong("data_offsets of two ascending non-negative integers", show(offsets));
  if (!isDtype(dtype) || !shapeFits || !offsetsFit) return undefined;

  const bytes = tensorBytes(dtype, shape);
  const [begin, end] = offsets;
  if (bytes === undefined) {
    wrong(`a shape of fewer than 2^53 bytes`, `${dtype} ${show(shape)}`);
  } else if (bytes !== end - begin) {
    wrong(
      `${bytes} bytes for ${dtype} ${show(shape)}, ${DTYPE_BYTES[dtype]} an element`,
      `${end - begin} by data_offsets ${show(offsets)}`,
    );
  }
  if (problems.length > before) return undefined;
  return Object.freeze({
    name,
    dtype,
    shape: Object.freeze([...shape]),
    file,
    begin: dataStart + begin,
    end: dataStart + end,
  });
}

/** The tensors must fill the data from its first byte to the file's last, one after the other. */
function checkCoverage(
  tensors: readonly TensorInfo[],
  dataStart: number,
  fileBytes: number,
  file: string,
  problems: Problem[],
): void {
  let filled = dataStart;
  let last = "the header";
  for (const { name, begin, end } of tensors) {
    const at = `tensor ${quote(name)}`;
    const expected = `data_offsets from ${filled - dataStart}, where ${last} ends`;
    const found = `${begin - dataStart}`;
    if (begin < filled) problems.push({ file, at, expected, found: `${found}: they overlap` });
    if (begin > filled) problems.push({ file, at, expected, found: `${found}: a gap` });
    filled = Math.max(filled, end);
    last = at;
  }
  if (filled > fileBytes) {
    problems.push({
      file,
      expected: `${filled} bytes for the tensors in its header`,
      found: `${fileBytes}`,
      advice: "the file is cut off: download it again",
    });
  } else if (filled < fileBytes && problems.length === 0) {
    problems.push({
      file,
      expected: `the last tensor to end with the file at byte ${fileBytes}`,
      found: `its end at byte ${filled}`,
      advice: "bytes that no tensor names may not follow",
    });
  }
}
