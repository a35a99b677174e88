/** Folders that one process at a time works in. */
import { join } from "node:path";
import { FormatError, systemError } from "./error.ts";

/** The file that is held. */
export const LOCK_FILE = "lock";

/**
 * Keeps other processes out of a folder until the file is closed or this process ends, whatever
 * ends it.
 * @throws FormatError where another process has it, or the system refuses.
 */
export function lockFolder(folder: string): Deno.FsFile {
  const path = join(folder, LOCK_FILE);
  let file: Deno.FsFile | undefined;
  try {
    file = Deno.openSync(path, { create: true, write: true });
    if (file.tryLockSync(true)) return file;
  } catch (error) {
    file?.close();
    throw systemError(path, "write", error);
  }
  file.close();
  throw new FormatError({
    file: folder,
    expected: "a run that no other process works on",
    found: "one that does",
    advice: "wait for it or stop it, or choose another place with --out",
  });
}
