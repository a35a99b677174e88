/** Ranges of bytes that HTTP requests ask for (RFC 9110, section 14). */

/** Bytes of a file, from `begin` to before `end`. */
export interface ByteRange {
  readonly begin: number;
  readonly end: number;
}

/**
 * The range that a `Range` header asks for; undefined where the whole file is to be sent: without
 * the header, and for units, lists and forms that a server may ignore.
 * @returns "unsatisfiable" for a range that begins behind the file's end
 */
export function parseRange(
  header: string | null,
  bytes: number,
): ByteRange | "unsatisfiable" | undefined {
  const [, first, last] = /^bytes=(\d*)-(\d*)$/i.exec(header?.trim() ?? "") ?? [];
  if (first === undefined || (first === "" && last === "")) return undefined;
  if (first === "") {
    const length = Math.min(Number(last), bytes);
    return length === 0 ? "unsatisfiable" : { begin: bytes - length, end: bytes };
  }
  const begin = Number(first);
  const end = last === "" ? bytes : Math.min(Number(last) + 1, bytes);
  if (last !== "" && Number(last) < begin) return undefined;
  return begin >= bytes ? "unsatisfiable" : { begin, end };
}
