/** Chromium's compiler accepts the WGSL of decoding, of training and of every operation. */

import { assert, assertEquals, assertGreater } from "@std/assert";
import type { Device } from "../../devices/device.ts";
import { radRwkv6, radRwkv7 } from "../../dsl/mixers.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { inspectCheckpoint } from "../../infer/loading.ts";
import { openSession } from "../../infer/session.ts";
import { storedAs, WEIGHT_FORMATS, type WeightFormat } from "../../infer/weights.ts";
import type { ModelSpec } from "../../models/config.ts";
import { modelParameters } from "../../models/decoder.ts";
import { input } from "../../graph/build.ts";
import { studentSpec } from "../../plan/spec.ts";
import quickstart from "../../recipes/quickstart.ts";
import { stageGraph } from "../../train/stage_graph.ts";
import { openBlankTab } from "../support/chromium.ts";
import { caseGraph } from "../support/op_case.ts";
import { gradientCases, opCases } from "../support/op_cases.ts";
import { wgslOf } from "../support/wgsl.ts";
import { fileURLToPath } from "node:url";

/** The quickstart's teacher, and what it becomes. */
const TEACHER = inspectCheckpoint(
  fileURLToPath(new URL("../../assets/teacher", import.meta.url)),
).spec;
const STUDENTS = [radRwkv7(), radRwkv6()].map((mixer) =>
  studentSpec(TEACHER, TEACHER.mixers.map(() => mixer))
);

/** The graphs that a session compiles for a prompt of 128 + 16 + 1 tokens. */
async function decodingGraphs(
  spec: ModelSpec,
  format: WeightFormat = "f32",
): Promise<(readonly Tensor[])[]> {
  const graphs: (readonly Tensor[])[] = [];
  const memory = { bytes: 0, slice: () => memory };
  const device: Device = {
    kind: "webgpu",
    description: "notes what it is asked to compute",
    allocate: () => memory,
    memoryUse: () => ({ inUse: 0, peak: 0 }),
    free: () => {},
    write: () => {},
    read: () => Promise.resolve(),
    clear: () => {},
    compile: (results) => {
      graphs.push(results);
      return {
        ...{ flops: 0, arenaBytes: 0, run: () => {}, free: () => {} },
        profile: () => Promise.resolve([]),
      };
    },
    close: () => Promise.resolve(),
  };
  const inputs = new Map(
    storedAs(modelParameters(spec), format).map(({ name, shape, dtype }) =>
      [name, input(name, shape, dtype)] as const
    ),
  );
  const session = openSession({ spec, device, inputs, bindings: {} });
  await session.advance([new Int32Array(128 + 16 + 1)]);
  session.free();
  return graphs;
}

/** What a browser's compiler says against shader modules; run in the browser. */
async function check(codes: readonly string[]): Promise<string[]> {
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter!.requestDevice({ requiredFeatures: ["subgroups"] });
  const found: string[] = [];
  for (const code of codes) {
    device.pushErrorScope("validation");
    const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
    await device.popErrorScope();
    const errors = messages.filter(({ type }) => type === "error");
    found.push(
      ...errors.map(({ lineNum, message }) => `${code.slice(0, 60)} ${lineNum}: ${message}`),
    );
  }
  device.destroy();
  return found;
}

/** All that Chromium says against shader modules. */
async function compilerErrors(codes: Iterable<string>): Promise<string[]> {
  await using tab = await openBlankTab();
  const list = [...codes];
  const errors: string[] = [];
  for (let i = 0; i < list.length; i += 100) {
    const some = JSON.stringify(list.slice(i, i + 100));
    errors.push(...await tab.evaluate<string[]>(`(${check})(${some})`));
  }
  return errors;
}

Deno.test("wgsl: Chromium compiles the kernels of decoding and of the quickstart's training", async () => {
  const specs = [TEACHER, ...STUDENTS].map((spec) => decodingGraphs(spec));
  const formats = WEIGHT_FORMATS.map((format) => decodingGraphs(TEACHER, format));
  const decoding = (await Promise.all([...specs, ...formats])).flat();
  const training = STUDENTS.flatMap((student) =>
    quickstart.stages.map((stage) => stageGraph(stage, student, TEACHER).results)
  );
  const codes = new Set([...decoding, ...training].flatMap(wgslOf));
  assertGreater(codes.size, 100);
  assert([...codes].some((code) => code.includes("subgroupShuffleXor")));
  assertEquals(await compilerErrors(codes), []);
});

Deno.test("wgsl: Chromium compiles the kernels of every operation and its gradient", async () => {
  const graphs = [...opCases, ...gradientCases].map((each) => caseGraph(each).outputs);
  const codes = new Set(graphs.flatMap(wgslOf));
  assertGreater(codes.size, 500);
  assertEquals(await compilerErrors(codes), []);
});

Deno.test("wgsl: what is wrong is found", async () => {
  const errors = await compilerErrors(["fn f() -> f32 { return 1u; }", "fn g() {}"]);
  assertEquals(errors.length, 1);
});
