/** The real NVRTC, without a GPU: every rendered kernel compiles, and those that matter do not spill. */

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  ARCHITECTURES,
  compileKernels,
  HEAD_WIDTHS,
  type KernelResources,
  kernelsOf,
  NVRTC_LOGS,
  readResources,
  resourceTable,
  tableText,
  trainingKernels,
} from "../../bench/cuda_kernels.ts";
import { nvrtcPath, preparePython } from "../../bench/python.ts";
import { CudaError } from "../../devices/cuda/error.ts";
import { type Nvrtc, openNvrtc, targetFor } from "../../devices/cuda/nvrtc.ts";
import * as g from "../../graph/build.ts";
import { renderCuda } from "../../kernels/render/cuda.ts";
import { caseGraph } from "../support/op_case.ts";
import { gradientCases, opCases } from "../support/op_cases.ts";

/** Runs with the NVRTC of .venv. */
async function withNvrtc(run: (nvrtc: Nvrtc) => void | Promise<void>): Promise<void> {
  await preparePython((line) => console.error(line));
  const nvrtc = openNvrtc(await nvrtcPath());
  try {
    await run(nvrtc);
  } finally {
    nvrtc.close();
  }
}

/** Kernels that spill, of those whose time is in their registers. */
const spills = (resources: readonly KernelResources[]) =>
  resources.filter(({ name, spillBytes }) =>
    /matmul|matvec|joined|attention|wkv/.test(name) && spillBytes > 0
  );

Deno.test("nvrtc: kernels of training and decoding compile for all GPUs, and do not spill", async () => {
  await withNvrtc(async (nvrtc) => {
    for (const width of HEAD_WIDTHS) {
      const kernels = await trainingKernels(width);
      const resources = compileKernels(nvrtc, kernels, NVRTC_LOGS);
      assertEquals(resources.length, kernels.length * ARCHITECTURES.length);
      assertEquals(spills(resources), []);
      const names = resourceTable(resources).map(({ name }) => name);
      for (
        const name of [
          "matmul",
          "matmul_tf32",
          "attention_tf32",
          "matvec",
          "joined",
          "loop",
          "attention_gradient",
          "wkv_scan_gradient",
          "wkv_keys",
        ]
      ) {
        assert(names.includes(name), name);
      }
    }
  });
});

Deno.test("nvrtc: kernels of every operation's tests compile, and do not spill", async () => {
  await withNvrtc((nvrtc) => {
    const programs = [...opCases, ...gradientCases].map((own) => caseGraph(own).outputs);
    const ofTensorCores = kernelsOf(programs, "tf32").filter(({ name }) => /_tf32_/.test(name));
    const kernels = [...kernelsOf(programs), ...ofTensorCores];
    // A thousand kernels: for the one of the three on which spills were the most.
    const resources = compileKernels(nvrtc, kernels, NVRTC_LOGS, [80]);
    assertEquals(resources.length, kernels.length);
    assertEquals(spills(resources), []);
  });
});

/** The instructions of machine code whose lower 12 bits, of 128, are an operation's. */
function instructions(code: Uint8Array<ArrayBuffer>, operation: number): number {
  const words = new DataView(code.buffer);
  const places = Array.from({ length: Math.floor(code.length / 16) }, (_, i) => 16 * i);
  return places.filter((at) => (words.getUint16(at, true) & 0xfff) === operation).length;
}

/** HMMA, as disassemblers show it for sm_80 and newer. */
const HMMA = 0x23c;

Deno.test("nvrtc: every product of tiles is an instruction of tensor cores, and no other is", async () => {
  await withNvrtc((nvrtc) => {
    const heads = (name: string, count: number) => g.input(name, [1, 64, count, 64]);
    const programs = [
      [g.tanh(g.matmul(g.input("a", [2048, 256]), g.input("b", [256, 704])))],
      [g.attention(heads("q", 2), heads("k", 1), heads("v", 1), 0.125)],
    ];
    for (const numbers of ["f32", "tf32"] as const) {
      for (const kernel of kernelsOf(programs, numbers)) {
        const source = renderCuda([kernel]);
        const tiles = [...source.matchAll(/^ *mma\(/gm)].length;
        assertEquals(tiles > 0, numbers === "tf32", kernel.name);
        for (const architecture of ARCHITECTURES) {
          const { code } = nvrtc.compile(source, "products", { kind: "cubin", architecture });
          const found = instructions(code, HMMA);
          // What is no code may look like an instruction.
          const isOf = found >= tiles && found <= tiles + 2;
          assert(isOf, `${kernel.name} on sm_${architecture}: ${found} HMMA of ${tiles}`);
        }
      }
    }
  });
});

Deno.test("nvrtc: an error has the compiler's log", async () => {
  await withNvrtc((nvrtc) => {
    const source = `extern "C" __global__ void k(float* a) { a[0] = wrong; }`;
    const target = { kind: "cubin", architecture: 90 } as const;
    const { message } = assertThrows(() => nvrtc.compile(source, "broken", target), CudaError);
    assertStringIncludes(message, "cuda: nvrtcCompileProgram broken: NVRTC_ERROR_COMPILATION\n");
    assertStringIncludes(message, `broken.cu(1): error: identifier "wrong" is undefined`);
  });
});

Deno.test("nvrtc: machine code for GPUs that it knows, PTX for newer ones", () => {
  assertEquals(targetFor(90, [80, 90, 100]), { kind: "cubin", architecture: 90 });
  assertEquals(targetFor(120, [80, 90, 100]), { kind: "ptx", architecture: 100 });
  assertEquals(targetFor(89, [80, 90, 100]), { kind: "ptx", architecture: 80 });
  assertStringIncludes(
    assertThrows(() => targetFor(61, [75, 80]), CudaError).message,
    "expected a GPU of compute capability 7.5 or newer, found 6.1",
  );
});

Deno.test("nvrtc: what ptxas says of kernels becomes a table", () => {
  const log = [
    "ptxas info    : 0 bytes gmem",
    "ptxas info    : Compiling entry function 'loop_0' for 'sm_90'",
    "ptxas info    : Function properties for loop_0",
    "ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads",
    "ptxas info    : Used 14 registers, used 0 barriers, 376 bytes cmem[0]",
    "ptxas info    : Compiling entry function 'loop_1' for 'sm_90'",
    "ptxas info    : Function properties for loop_1",
    "ptxas         .     8 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads",
    "ptxas info    : Used 40 registers, used 1 barriers, 8320 bytes smem",
  ].join("\n");
  const resources = readResources(log, 90);
  assertEquals(resources, [
    { name: "loop_0", architecture: 90, registers: 14, sharedBytes: 0, spillBytes: 0 },
    { name: "loop_1", architecture: 90, registers: 40, sharedBytes: 8320, spillBytes: 20 },
  ]);
  assertEquals(
    tableText(resourceTable(resources)),
    "| kernel | variants | sm_90 |\n| --- | --- | --- |\n| loop | 2 | 40 / 8320 / 20 |",
  );
});
