import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import { AtomicFile, writeFileAtomic, writeJsonAtomic } from "../../formats/atomic_file.ts";
import { type FormatError, systemError } from "../../formats/error.ts";
import { filesIn, messageOf, withFolder } from "./support.ts";

Deno.test("writes text, bytes, pieces and JSON, and the folders above", () => {
  withFolder((folder) => {
    const path = join(folder, "a", "b", "file");
    writeFileAtomic(path, "é\n");
    assertEquals(Deno.readTextFileSync(path), "é\n");
    writeFileAtomic(path, Uint8Array.of(1, 2));
    assertEquals(Deno.readFileSync(path), Uint8Array.of(1, 2));
    writeFileAtomic(path, [Uint8Array.of(3), new Uint8Array(0), Uint8Array.of(4, 5)]);
    assertEquals(Deno.readFileSync(path), Uint8Array.of(3, 4, 5));
    writeJsonAtomic(path, { a: [1] });
    assertEquals(Deno.readTextFileSync(path), '{\n  "a": [\n    1\n  ]\n}\n');
    assertEquals(filesIn(join(folder, "a", "b")), ["file"]);
  });
});

Deno.test("the file is not there, or is the old one, until it is complete", () => {
  withFolder((folder) => {
    const path = join(folder, "file");
    writeFileAtomic(path, "old");
    {
      using file = new AtomicFile(path);
      file.write(Uint8Array.of(1));
      assertEquals(filesIn(folder), ["file", "file.partial"]);
      file.finish();
      assertThrows(() => file.write(Uint8Array.of(2)), Error, "after it was finished");
      assertEquals(Deno.readTextFileSync(path), "old");
      file.commit();
    }
    assertEquals(filesIn(folder), ["file"]);
    assertEquals(Deno.readFileSync(path), Uint8Array.of(1));
  });
});

Deno.test("content that throws on the way leaves the old file and no partial one", () => {
  withFolder((folder) => {
    const path = join(folder, "file");
    writeFileAtomic(path, "old");
    function* content() {
      yield new Uint8Array(100);
      throw new TypeError("no more");
    }
    assertThrows(() => writeFileAtomic(path, content()), TypeError, "no more");
    assertEquals(filesIn(folder), ["file"]);
    assertEquals(Deno.readTextFileSync(path), "old");
  });
});

Deno.test("a partial file that an interrupted run left is replaced, not followed", () => {
  withFolder((folder) => {
    const path = join(folder, "file");
    const elsewhere = join(folder, "elsewhere");
    Deno.writeTextFileSync(elsewhere, "untouched");
    Deno.symlinkSync(elsewhere, `${path}.partial`);
    writeFileAtomic(path, "new");
    assertEquals(Deno.readTextFileSync(elsewhere), "untouched");
    assertEquals(Deno.readTextFileSync(path), "new");
    assertEquals(filesIn(folder), ["elsewhere", "file"]);
  });
});

Deno.test("what the system refuses is said with the file's name", () => {
  withFolder((folder) => {
    const inside = join(folder, "file", "inside");
    Deno.writeTextFileSync(join(folder, "file"), "");
    assertStringIncludes(messageOf(() => writeFileAtomic(inside, "")), `${inside}: expected`);
    const taken = join(folder, "taken");
    Deno.mkdirSync(join(taken, "full"), { recursive: true });
    assertStringIncludes(messageOf(() => writeFileAtomic(taken, "")), "found a folder");
    assertEquals(filesIn(folder), ["file", "taken"]);
  });
});

Deno.test("a full disk is said to be full", () => {
  const error = Object.assign(new Error("No space left on device (os error 28)"), {
    code: "ENOSPC",
  });
  const problem = systemError("out/model.safetensors", "write", error);
  assertEquals(
    (problem as FormatError).message,
    "out/model.safetensors: expected to write this file, found that the disk is full; " +
      "make room and run it again; the old file is as it was",
  );
  assertEquals((problem as FormatError).cause, error);
  const other = new TypeError("not the system's");
  assertEquals(systemError("x", "read", other), other);
});
