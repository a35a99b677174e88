import { assertEquals, assertMatch } from "@std/assert";
import { findNative } from "../../../../devices/cpu/native.ts";
import { outputOf, type TaskResult } from "../../../support/task.ts";
import { wordsOf } from "../../../support/task_process.ts";

/** What tasks set, and that V8 compiles by its optimizing compiler at once. */
const FLAGS = [
  ...["--experimental-wasm-revectorize", "--no-wasm-bounds-checks"],
  ...["--no-liftoff", "--no-wasm-lazy-compilation"],
];

/** Runs Deno with the flags of V8, which hold for a whole process. */
const withFlags = (flags: readonly string[], args: readonly string[]): Promise<TaskResult> =>
  outputOf(Deno.execPath(), args, { DENO_V8_FLAGS: flags.join(",") });

/** Kernels of which V8 makes no AVX2: products by a row, which end in single numbers. */
const NARROW = ["matvec", "matvecBf16", "matvecQ8", "matvecQ8Whole", "matvecQ4"];

// The processors for which V8 does this; where it does not, other tests have run the same code.
if (findNative() !== undefined) {
  Deno.test("wasm: V8 makes AVX2 of the kernels of training", async () => {
    const args = ["run", "--allow-read", "tests/support/wide_kernels.ts"];
    const { code, stdout, stderr } = await withFlags([...FLAGS, "--trace-wasm-revectorize"], args);
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    const [, ...kernels] = stdout.split(/^kernel /m);
    const narrow = kernels.filter((text) => !text.includes("Decided to vectorize"));
    const expected = NARROW.flatMap((name) => [`${name} i32`, `${name} i64`]);
    assertEquals(narrow.map((text) => text.split("\n")[0]), expected);
    assertEquals(kernels.length > 2 * expected.length, true);
  });

  Deno.test("wasm: every kernel is right as AVX2 of V8's", async () => {
    const words = wordsOf("test").filter((word) => word !== "--parallel").slice(0, -1);
    const args = [...words, "--no-check", "--filter", "wasm8: ", "tests/kernels"];
    const { code, stdout, stderr } = await withFlags(FLAGS, args);
    assertEquals(code, 0, stdout + stderr);
    assertMatch(stdout, /ok.* \| \d{3} passed/);
  });
}
