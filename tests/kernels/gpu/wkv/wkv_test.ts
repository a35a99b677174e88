/** Recurrences on GPUs in what the cases of all devices leave out. */

import { assertEquals } from "@std/assert";
import * as g from "../../../../graph/build.ts";
import { schedule } from "../../../../graph/schedule.ts";
import type { Tensor } from "../../../../graph/tensor.ts";
import { GPU_SCHEDULING, gpuKernelsOf } from "../../../../kernels/gpu/program.ts";
import { buildProgram } from "../../../../kernels/program.ts";
import { assertCases } from "../../../support/device_case.ts";
import { withCuda } from "../../../support/devices.ts";
import { type CaseInput, opCase, real, withGradients } from "../../../support/op_case.ts";

/** Both recurrences, by name. */
const RECURRENCES = {
  wkv6: ({ r, w, k, v, state }: Record<string, Tensor>) => g.wkv6({ r, w, k, v }, state),
  wkv7: ({ r, w, k, v, kappa, a, state }: Record<string, Tensor>) =>
    g.wkv7({ r, w, k, v, kappa, a }, state),
};

// Widths that nothing divides, of one slice of columns and of two, which the CPU does not have; and one
// beyond what the threads of a group take at once.
const widths = [7, 69, 132].flatMap((width) =>
  (["wkv6", "wkv7"] as const).map((name) => {
    const size = [1, 19, 2, width];
    const key = Math.sqrt(3 / width);
    const inputs: Readonly<Record<string, CaseInput>> = {
      ...{ r: real(size), w: real(size, 0.3, 1), k: real(size, -key, key), v: real(size) },
      ...(name === "wkv7" ? { kappa: real(size, -key, key), a: real(size, 0, 1) } : {}),
      state: real([1, 2, width, width]),
    };
    return withGradients(opCase(`${name} [${size.join(", ")}]`, inputs, (tensors) => {
      const { y, state } = RECURRENCES[name](tensors);
      return [y, state];
    }));
  })
);

Deno.test("gpu recurrences: odd and large widths", async () => {
  await withCuda((device) => assertCases(device, widths));
});

Deno.test("gpu recurrences: a few tokens are one kernel, more of them are chunks and a scan", () => {
  const labels = (name: keyof typeof RECURRENCES, time: number) => {
    const names = ["r", "w", "k", "v", "kappa", "a"];
    const inputs = Object.fromEntries(names.map((own) => [own, g.input(own, [1, time, 2, 8])]));
    const state = g.input("state", [1, 2, 8, 8]);
    const results = [RECURRENCES[name]({ ...inputs, state }).y];
    const { launches } = buildProgram(schedule(results, GPU_SCHEDULING), gpuKernelsOf);
    return launches.map(({ label }) => label.split(" ")[0]);
  };
  for (const name of ["wkv6", "wkv7"] as const) {
    assertEquals(labels(name, 1), [name]);
    assertEquals(labels(name, 8), [name]);
    assertEquals(labels(name, 9), [`${name}/tokens`, `${name}/scan`]);
  }
});
