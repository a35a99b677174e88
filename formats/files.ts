/**
 * Whether something is there. Only what the system says is not there counts as absent: a folder that
 * may not be looked into is an error, so that nothing is made anew over what was merely not seen.
 */
import { systemError } from "./error.ts";

const isAbsent = (error: unknown) =>
  error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory;

/** What the system says of a path, at the end of the link if it is one; undefined where it is absent. */
function statOf(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw systemError(path, "read", error);
  }
}

/** Whether there is a file or a folder. Throws FormatError where the system does not tell. */
export const exists = (path: string): boolean => statOf(path) !== undefined;

/** Whether there is a file. Throws FormatError where the system does not tell. */
export const isFile = (path: string): boolean => statOf(path)?.isFile === true;

/** Whether there is a folder. Throws FormatError where the system does not tell. */
export const isFolder = (path: string): boolean => statOf(path)?.isDirectory === true;

/** Removes a file, or a link to one, unless it is absent. Throws what the system says. */
export function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}
