import { assert, assertEquals, assertThrows } from "@std/assert";
import { chooseNative, findNative, loadCode, openCalls } from "../../../devices/cpu/native.ts";
import { levelsOf, X64_LEVELS, X64_NAMES } from "../../../kernels/render/x64.ts";
import { levelOf } from "../../../kernels/render/x64/cpuid.ts";
import { withCpu } from "../../support/devices.ts";

const found = findNative();

Deno.test(`native: this machine has ${found ?? "none, so that only WebAssembly is tested"}`, async () => {
  const name = found === undefined ? "WebAssembly SIMD" : `${X64_NAMES[found]} kernels`;
  await withCpu({ threads: 1 }, ({ description }) => {
    assert(description.endsWith(name), description);
  });
  await withCpu({ threads: 1, native: "none" }, ({ description }) => {
    assert(description.endsWith("WebAssembly SIMD"), description);
  });
});

Deno.test("native: a level is what the processor has and the system saves", () => {
  const bits = (...places: number[]) => places.reduce((sum, place) => sum + 2 ** place, 0);
  const [leaf1, avx2, avx512] = [bits(12, 27, 28, 29), bits(5), bits(5, 16, 17, 30, 31)];
  const [saves, savesAll] = [bits(0, 1, 2), bits(0, 1, 2, 5, 6, 7)];
  const [vnni, amx, savesTiles] = [bits(11), bits(22, 24), bits(0, 1, 2, 5, 6, 7, 17, 18)];
  const cases = [
    ["amx", [31, leaf1, avx512, savesTiles, vnni, amx]],
    ["vnni", [31, leaf1, avx512, savesTiles, vnni, bits(24)]],
    ["vnni", [31, leaf1, avx512, savesAll, vnni, amx]],
    ["vnni", [31, leaf1, avx512, savesAll, vnni, 0]],
    ["avx512", [31, leaf1, avx512, savesTiles, bits(10, 12), amx]],
    ["avx2", [31, leaf1, avx2, savesTiles, vnni, amx]],
    ["avx2", [31, leaf1, avx512, saves, vnni]],
    ["avx2", [7, leaf1, avx2, saves]],
    [undefined, [6, leaf1, avx2, saves]],
    [undefined, [31, bits(27, 28), avx2, saves]],
    [undefined, [31, leaf1, bits(16, 17, 30, 31), savesAll]],
    [undefined, [31, leaf1, avx512, bits(0, 1)]],
    [undefined, [31, bits(12), avx2, 0]],
    ["avx2", [31, leaf1, bits(5, 16, 17, 30), savesAll]],
  ] as const;
  assertEquals(cases.map(([, words]) => levelOf(words)), cases.map(([level]) => level));
});

Deno.test("native: a level that the machine does not have is an error, a lower one is not", () => {
  assertEquals(chooseNative("auto"), found);
  assertEquals(chooseNative("none"), undefined);
  const has = found === undefined ? [] : levelsOf(found);
  for (const level of X64_LEVELS) {
    if (has.includes(level)) assertEquals(chooseNative(level), level);
    else assertThrows(() => chooseNative(level), Error, `expected a processor with ${level}`);
  }
});

Deno.test({
  name: "native: without permission to call code, kernels are WebAssembly",
  permissions: { ffi: false },
  fn: () => assertEquals(findNative(), undefined),
});

if (found !== undefined) {
  Deno.test("native: functions are called where they were put, with their arguments", () => {
    // movsxd rcx, [rsi+4]; mov rax, [rdi]; mov [rax], ecx; mov ecx, [rdi+8]; mov [rax+4], ecx;
    // xor eax, eax; ret
    const bytes = "48634e04" + "488b07" + "8908" + "8b4f08" + "894804" + "31c0" + "c3";
    const code = Uint8Array.from(bytes.match(/../g)!, (byte) => parseInt(byte, 16));
    const { addresses, free } = loadCode([new Uint8Array([0x31, 0xc0, 0xc3]), code]);
    assertEquals(addresses[1] - addresses[0], 64);
    const to = new Int32Array(2);
    const calls = openCalls(0n);
    const at = Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(to)));
    calls.bind(addresses[0], [at, 5])(1, 2);
    assertEquals([...to], [0, 0]);
    calls.bind(addresses[1], [at, 5])(1, 2);
    assertEquals([...to], [2, 5]);
    calls.close();
    free();
  });
}
