/** Compiled kernels on disk, so that a machine compiles a program once. */

import { createHash } from "node:crypto";
import { join } from "node:path";
import { variable } from "../environment.ts";

/** What compiled code depends on: all of it is hashed. */
export interface CacheKey {
  readonly source: string;
  /** Architecture and kind of code, as `sm_90`. */
  readonly target: string;
  /** Names and made of the GPU, of NVRTC and of the driver. */
  readonly made: string;
}

/** Compiled code by what it was made of. */
export interface KernelCache {
  /** The stored code, or what `make` gives, which is then stored. */
  code(key: CacheKey, make: () => Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>;
}

const HASH_BYTES = 32;

const sha256 = (data: string | Uint8Array) => createHash("sha256").update(data).digest();

/**
 * The folder of the cache: `suture/cuda` in XDG_CACHE_HOME, `~/.cache` or, on Windows, LOCALAPPDATA.
 * Undefined where none is known.
 */
export function cacheFolder(read: (name: string) => string | undefined): string | undefined {
  const home = read("HOME") ?? read("USERPROFILE");
  const base = read("XDG_CACHE_HOME") ?? read("LOCALAPPDATA") ??
    (home === undefined ? undefined : join(home, ".cache"));
  return base === undefined ? undefined : join(base, "suture", "cuda");
}

/** Stored code, where it is whole: it follows its own hash. */
function readEntry(path: string): Uint8Array<ArrayBuffer> | undefined {
  let data: Uint8Array<ArrayBuffer>;
  try {
    data = Deno.readFileSync(path);
  } catch {
    // Not there, or not readable: it is made again.
    return undefined;
  }
  const code = data.subarray(HASH_BYTES);
  return sha256(code).every((byte, i) => byte === data[i]) ? code : undefined;
}

/** Writes beside and renames, so that nobody reads half of it. A cache that cannot be written is none. */
function writeEntry(folder: string, path: string, code: Uint8Array): void {
  const partial = `${path}.${crypto.randomUUID()}.partial`;
  try {
    Deno.mkdirSync(folder, { recursive: true });
    Deno.writeFileSync(partial, new Uint8Array([...sha256(code), ...code]));
    Deno.renameSync(partial, path);
  } catch {
    try {
      Deno.removeSync(partial);
    } catch {
      // It was never made.
    }
  }
}

/** A cache in a folder; without one, everything is made anew. */
export function openKernelCache(folder = cacheFolder(variable)): KernelCache {
  if (folder === undefined) return { code: (_, make) => make() };
  return {
    code: ({ source, target, made }, make) => {
      const name = sha256([made, target, source].join("\0")).toString("hex");
      const path = join(folder, `${name}.bin`);
      const stored = readEntry(path);
      if (stored !== undefined) return stored;
      const code = make();
      writeEntry(folder, path, code);
      return code;
    },
  };
}
