import { assertEquals, assertMatch } from "@std/assert";
import { findNative } from "../../devices/cpu/native.ts";
import { sharedPath } from "../support/shared.ts";
import { outputOf, runTaskWith } from "../support/task.ts";

const OFF = "--no-experimental-wasm-revectorize";
const WIDE = "--experimental-wasm-revectorize,--no-wasm-bounds-checks";

/** Tasks that may use FFI and yet run no kernels of the CPU, or all forms of them. */
const WITHOUT = ["plan", "test", "nvrtc"];

Deno.test("v8_flags: tasks that run kernels set them, all by the same words", () => {
  const { tasks } = JSON.parse(Deno.readTextFileSync(new URL("../../deno.json", import.meta.url)));
  const found = Object.entries<{ command: string }>(tasks)
    .filter(([name, { command }]) => command.includes("--allow-ffi") && !WITHOUT.includes(name))
    .map(([, { command }]) => command);
  assertEquals(found.length, 8);
  const prefixes = new Set(found.map((command) => command.match(/^DENO_V8_FLAGS=\$\(.*?\) /)?.[0]));
  assertEquals(prefixes.size, 1);
  for (const command of found) assertMatch(command, /--allow-env=DENO_V8_FLAGS,/);
});

Deno.test("v8_flags: both, besides what is set; none where a person says so", async () => {
  const args = ["run", "--no-prompt", "--allow-env=DENO_V8_FLAGS", "cli/v8_flags.ts"];
  const printed = async (variables: Readonly<Record<string, string>>) => {
    const { stdout, stderr } = await outputOf(Deno.execPath(), args, variables);
    assertEquals(stderr, "");
    return stdout.trim();
  };
  assertEquals(await printed({ DENO_V8_FLAGS: "--stack-size=900" }), `--stack-size=900,${WIDE}`);
  assertEquals(await printed({ DENO_V8_FLAGS: OFF }), OFF);
});

// The processors for which V8 has the flag.
if (findNative() !== undefined) {
  Deno.test("v8_flags: WebAssembly has eight lanes in tasks, or four as a person says", async () => {
    const model = sharedPath("models", "stories260k");
    const words = [model, "--prompt", "Once", "--tokens", "12", "--temperature", "0"];
    const forced = ["--threads", "1", "--blas", "none", "--native", "none"];
    const run = (flags: string) =>
      runTaskWith({ DENO_V8_FLAGS: flags }, "generate", ...words, ...forced);
    const [wide, narrow] = await Promise.all([run("--stack-size=900"), run(OFF)]);
    assertMatch(wide.stderr, /^cpu: 1 thread, (relaxed )?WebAssembly SIMD, 8 lanes\n/);
    assertMatch(narrow.stderr, /^cpu: 1 thread, (relaxed )?WebAssembly SIMD\n/);
    assertEquals(wide.stdout, narrow.stdout);
  });
}
