import { assertEquals, assertMatch } from "@std/assert";
import { memoryWarning } from "../../../cli/plan/memory_need.ts";

Deno.test("memory: a run that takes more than there is, is told what needs less", () => {
  assertEquals(memoryWarning(2 ** 30, 2 ** 30), undefined);
  assertMatch(
    memoryWarning(3 * 2 ** 30, 2 ** 30)!,
    /^this machine has 1\.0 GiB of memory, and the run may take 3\.0 GiB: .* a smaller batch, .*$/,
  );
});
