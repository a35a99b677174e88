/** What the tests of formats/ share: fixtures, temporary folders, the message of a FormatError. */
import { assertThrows } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { FormatError } from "../../formats/error.ts";

const FIXTURES = fileURLToPath(new URL("./fixtures", import.meta.url));

/** Path of a committed fixture, which make_fixtures.py wrote. */
export function fixturePath(...parts: readonly string[]): string {
  return join(FIXTURES, ...parts);
}

/** The JSON values of a .jsonl fixture, one a line. */
export function fixtureLines<T>(...parts: readonly string[]): T[] {
  const text = Deno.readTextFileSync(fixturePath(...parts));
  return text.trimEnd().split("\n").map((line) => JSON.parse(line));
}

/** Runs a test with a folder of its own, which is removed afterwards. */
export function withFolder(run: (folder: string) => void): void {
  const folder = Deno.makeTempDirSync({ prefix: "suture-formats-" });
  try {
    run(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Names of the files in a folder, in order. */
export function filesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

/** The message of the FormatError that the call must throw. */
export function messageOf(call: () => unknown): string {
  return assertThrows(call, FormatError).message;
}

/** A safetensors file with this JSON for a header. */
export function file(header: string, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const json = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  return bytes;
}
