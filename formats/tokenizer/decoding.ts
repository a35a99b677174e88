/**
 * From ids back to text. The library's own decoding drops byte-order marks, counts broken bytes
 * otherwise than Python does and cannot stream; tokens as bytes can do all three.
 */
import { FormatError, show } from "../error.ts";
import type { JsonObject } from "../json.ts";
import { bytesOfCharacters } from "./byte_level.ts";

/** What a checked `decoder` does. */
interface Decoder {
  /** Pieces are bytes in the byte-level alphabet; otherwise text, or `<0xNN>` for a byte. */
  readonly byteLevel: boolean;
  readonly byteFallback: boolean;
  readonly replace: readonly (readonly [from: string, to: string])[];
  /** The character that is dropped at the start of a text, so many times at most. */
  readonly strip: readonly [character: string, count: number];
}

/** Says what text ids stand for. */
export interface Decoding {
  /** The text of all ids. Ids of no token, and special tokens where asked, are left out. */
  decode(ids: Iterable<number>, skipSpecial: boolean): string;
  /** Decodes token by token. */
  stream(skipSpecial: boolean): TextStream;
}

/**
 * Text from tokens as they come: each piece that is returned is whole UTF-8, and together they are
 * what `decode` gives. Only bytes that are no UTF-8 at all may give another number of U+FFFD.
 */
export interface TextStream {
  /** Takes the next id; returns the text that is complete now, which may be empty. */
  push(id: number): string;
  /** The text of bytes that stayed incomplete. The stream then starts anew. */
  end(): string;
}

/** What a token stands for: bytes, which may be part of a character, or text. */
type Part = Uint8Array | string;

/** The decoder of a checked tokenizer.json. @throws FormatError for an order of steps not read. */
export function decodingOf(
  config: JsonObject,
  pieces: readonly (string | undefined)[],
  special: ReadonlySet<number>,
  file: string,
): Decoding {
  const decoder = readDecoder(steps(config), file);
  const known: Part[] = [];
  const partOf = (skipSpecial: boolean) => (id: number): Part | undefined => {
    const piece = pieces[id];
    if (piece === undefined || (skipSpecial && special.has(id))) return undefined;
    return known[id] ??= makePart(decoder, piece);
  };
  return {
    decode: (ids, skipSpecial) => decodeAll(decoder, ids, partOf(skipSpecial)),
    stream: (skipSpecial) => new Stream(decoder, partOf(skipSpecial)),
  };
}

function steps(config: JsonObject): JsonObject[] {
  return config.type === "Sequence" ? (config.decoders as JsonObject[]).flatMap(steps) : [config];
}

function readDecoder(list: readonly JsonObject[], file: string): Decoder {
  const types = list.map(({ type }) => type as string);
  const wrong = (expected: string): never => {
    throw new FormatError({
      file,
      at: "decoder",
      expected,
      found: types.join(", "),
      advice: "this order of steps is not read",
    });
  };
  if (types.includes("ByteLevel")) {
    if (types.some((type) => type !== "ByteLevel" && type !== "Fuse")) wrong("ByteLevel alone");
    return { byteLevel: true, byteFallback: false, replace: [], strip: ["", 0] };
  }
  const replace: (readonly [string, string])[] = [];
  let strip: readonly [string, number] = ["", 0];
  for (const [i, step] of list.entries()) {
    if (step.type === "Replace") {
      const from = (step.pattern as JsonObject | undefined)?.String;
      if (typeof from !== "string" || typeof step.content !== "string") {
        throw new FormatError({
          file,
          at: "decoder Replace",
          expected: "a text and another for it",
          found: show(step.pattern),
        });
      }
      replace.push([from, step.content]);
    } else if (step.type === "Metaspace") {
      replace.push([typeof step.replacement === "string" ? step.replacement : "▁", " "]);
      if (step.prepend_scheme !== "never") strip = [" ", 1];
    } else if (step.type === "Strip") {
      if (!types.slice(0, i).includes("Fuse")) wrong("Strip after Fuse");
      strip = [step.content as string, step.start as number];
    }
  }
  return { byteLevel: false, byteFallback: types.includes("ByteFallback"), replace, strip };
}

/** The byte that `<0xNN>` stands for. */
function fallbackByte(piece: string): number | undefined {
  const digits = /^<0x([0-9A-Fa-f]{2})>$/.exec(piece)?.[1];
  return digits === undefined ? undefined : parseInt(digits, 16);
}

function makePart(decoder: Decoder, piece: string): Part {
  if (decoder.byteLevel) return bytesOfCharacters(piece) ?? new TextEncoder().encode(piece);
  const byte = decoder.byteFallback ? fallbackByte(piece) : undefined;
  if (byte !== undefined) return Uint8Array.of(byte);
  return decoder.replace.reduce((text, [from, to]) => text.replaceAll(from, () => to), piece);
}

function decodeAll(
  decoder: Decoder,
  ids: Iterable<number>,
  partOf: (id: number) => Part | undefined,
): string {
  const texts: string[] = [];
  let run: Uint8Array[] = [];
  const endRun = () => {
    if (run.length > 0) texts.push(runText(decoder, concatenate(run)));
    run = [];
  };
  for (const id of ids) {
    const part = partOf(id);
    if (part instanceof Uint8Array) run.push(part);
    else if (part !== undefined) {
      endRun();
      texts.push(part);
    }
  }
  endRun();
  const text = texts.join("");
  return text.slice(strippable(text, decoder.strip));
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Adjacent bytes as text. With byte fallback, Python gives each byte of a broken run a U+FFFD. */
function runText(decoder: Decoder, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { ignoreBOM: true, fatal: decoder.byteFallback }).decode(bytes);
  } catch {
    return "\ufffd".repeat(bytes.length);
  }
}

/** How many characters at the start of the text are to be dropped. */
function strippable(text: string, [character, count]: Decoder["strip"]): number {
  let length = 0;
  while (length < count && text[length] === character) length++;
  return length;
}

class Stream implements TextStream {
  readonly #decoder: Decoder;
  readonly #partOf: (id: number) => Part | undefined;
  readonly #utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  #started = false;

  constructor(decoder: Decoder, partOf: (id: number) => Part | undefined) {
    this.#decoder = decoder;
    this.#partOf = partOf;
  }

  push(id: number): string {
    const part = this.#partOf(id);
    if (part === undefined) return "";
    if (part instanceof Uint8Array) return this.#strip(this.#utf8.decode(part, { stream: true }));
    return this.#strip(this.#utf8.decode() + part);
  }

  end(): string {
    const text = this.#strip(this.#utf8.decode());
    this.#started = false;
    return text;
  }

  #strip(text: string): string {
    if (this.#started || text === "") return text;
    this.#started = true;
    return text.slice(strippable(text, this.#decoder.strip));
  }
}
