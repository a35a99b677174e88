import { assert, assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { FormatError, systemError } from "../../formats/error.ts";
import { exists, isFile, isFolder, removeFile } from "../../formats/files.ts";
import { temporaryFolder } from "../support/checkpoint.ts";

Deno.test("files: what is there, and what is not", () => {
  using temporary = temporaryFolder();
  const { folder } = temporary;
  const file = join(folder, "file");
  Deno.writeTextFileSync(file, "");
  const [link, dangling] = [join(folder, "link"), join(folder, "dangling")];
  Deno.symlinkSync(file, link);
  Deno.symlinkSync(join(folder, "gone"), dangling);
  const of = (path: string) => [exists(path), isFile(path), isFolder(path)];
  assertEquals(of(folder), [true, false, true]);
  for (const path of [file, link]) assertEquals(of(path), [true, true, false]);
  for (const path of [join(folder, "none"), join(file, "below"), dangling]) {
    assertEquals(of(path), [false, false, false], path);
  }
  for (const path of [link, dangling, join(folder, "none"), join(file, "below")]) removeFile(path);
  assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["file"]);
});

Deno.test("files: what the system does not tell is an error, and not absent", () => {
  // A link to itself: other than permissions this holds for root too.
  using temporary = temporaryFolder();
  const loop = join(temporary.folder, "loop");
  Deno.symlinkSync(loop, loop);
  for (const ask of [exists, isFile, isFolder]) {
    const { message } = assertThrows(() => ask(loop), FormatError);
    assert(message.startsWith(`${loop}: expected a file that can be read, found `), message);
  }
});

Deno.test("a path that Deno keeps from the task is told, and what to do", () => {
  const error = systemError("/proc/x", "write", new Deno.errors.NotCapable("Requires all access"));
  assertEquals(
    (error as Error).message,
    "/proc/x: expected to write this file, found that Deno does not let the task reach it; " +
      "choose another place",
  );
});
