/** Golden checkpoints: logits, what every mixer says, the loss, and gradients by name. */

import { basename, join } from "node:path";
import { compute } from "../../devices/compute.ts";
import type { Device } from "../../devices/device.ts";
import { isFile } from "../../formats/files.ts";
import { openSafetensors } from "../../formats/safetensors/store.ts";
import * as g from "../../graph/build.ts";
import { gradients } from "../../graph/gradient.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { inspectCheckpoint, loadCheckpoint } from "../../infer/loading.ts";
import type { LoadedModel } from "../../infer/session.ts";
import { decoderForward } from "../../models/decoder.ts";
import { rotaryFrequencies, rotaryTables } from "../../models/rotary.ts";
import { type CaseResult, type Compared, worstOf } from "./result.ts";

/** The folders of a golden directory that are checkpoints with expected values. */
export function checkpointFolders(folder: string): string[] {
  return [...Deno.readDirSync(folder)]
    .filter(({ name, isDirectory }) => isDirectory && isFile(join(folder, name, EXPECTED)))
    .map(({ name }) => name)
    .sort();
}

const EXPECTED = "expected.safetensors";

/** Logits, mixers, loss, and the gradient of every parameter, in this order. */
function goldenGraph({ spec, inputs }: LoadedModel, batch: number, time: number): Tensor[] {
  const { headDim, vocabSize } = spec.config;
  const tables = [1, time, headDim / 2];
  const { hidden, head, traces } = decoderForward(spec, {
    ids: g.input("ids", [batch, time], "i32"),
    cosine: g.input("cosine", tables),
    sine: g.input("sine", tables),
    weight: (name) => inputs.get(name)!,
  });
  const logits = g.matmul(hidden, head, { transposeB: true });
  const targets = g.input("targets", [batch * time], "i32");
  const loss = g.meanAll(g.crossEntropy(hidden, head, targets));
  return [
    g.reshape(logits, [batch, time, vocabSize]),
    g.concat(traces.map(({ y }) => g.reshape(y, [1, ...y.shape])), 0),
    loss,
    ...gradients(loss, [...inputs.values()]),
  ];
}

/** The norm of all gradients together. */
function normOf(gradients: readonly Float32Array[]): number {
  const squares = gradients.map((data) => data.reduce((sum, x) => sum + x * x, 0));
  return Math.sqrt(squares.reduce((a, b) => a + b, 0));
}

/** Runs a checkpoint's case on a device, in the parallel form. */
export async function runCheckpoint(device: Device, folder: string): Promise<CaseResult> {
  const name = basename(folder);
  using expected = openSafetensors(join(folder, EXPECTED));
  const [batch, time] = expected.info("ids").shape;
  const model = loadCheckpoint(device, inspectCheckpoint(folder));
  try {
    const positions = Array.from({ length: time }, (_, i) => i);
    const values = {
      ids: expected.readI32("ids"),
      targets: expected.readI32("targets"),
      ...rotaryTables(rotaryFrequencies(model.spec.config), positions),
    };
    const graph = goldenGraph(model, batch, time);
    const [logits, mixers, loss, ...grads] = await compute(device, graph, values, model.bindings);
    const computed = new Map<string, ArrayLike<number>>([
      ["logits", logits],
      ["mixer_out", mixers],
      ["cross_entropy", loss],
      ["grad_norm", [normOf(grads)]],
      ...[...model.inputs.keys()].map((name, i) => [`grad.${name}`, grads[i]] as const),
    ]);
    const compared = [...expected.tensors.keys()]
      .filter((key) => key !== "ids" && key !== "targets")
      .map((tensor): Compared => {
        const found = computed.get(tensor);
        if (found === undefined) throw new Error(`${tensor} is not a part of this model`);
        return { tensor, found, expected: expected.readF32(tensor) };
      });
    const isGradient = ({ tensor }: Compared) => tensor.startsWith("grad");
    return {
      name,
      outputs: worstOf(compared.filter((t) => !isGradient(t))),
      gradients: worstOf(compared.filter(isGradient)),
    };
  } finally {
    model.free();
  }
}
