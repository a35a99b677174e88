/**
 * The byte-level alphabet of GPT-2: every byte as a printable character, so that a vocabulary of
 * texts can hold any bytes. Printable Latin-1 stands for itself, the other bytes for U+0100 and up.
 */

function alphabet(): readonly string[] {
  const printable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from(
    { length: 256 },
    (_, byte) => String.fromCharCode(printable(byte) ? byte : next++),
  );
}

/** The character of each byte. */
export const BYTE_CHARACTERS: readonly string[] = Object.freeze(alphabet());

const CHARACTER_BYTES: ReadonlyMap<string, number> = new Map(
  BYTE_CHARACTERS.map((character, byte) => [character, byte]),
);

/** The bytes that a text of the alphabet stands for; `undefined` if it has any other character. */
export function bytesOfCharacters(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const byte = CHARACTER_BYTES.get(text[i]);
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

/** Bytes as characters of the alphabet. */
export function charactersOfBytes(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += BYTE_CHARACTERS[byte];
  return text;
}
