/** Golden checkpoints: logits, what every mixer says, the loss, and gradients by name. */

import { basename, join } from "node:path";
import { compute } from "../../devices/compute.ts";
import type { Device } from "../../devices/device.ts";
import { CONFIG_LIMIT, MODEL_TYPES } from "../../formats/hf_config/config.ts";
import { readJsonObject } from "../../formats/json.ts";
import { openSafetensors } from "../../formats/safetensors/store.ts";
import * as g from "../../graph/build.ts";
import { gradients } from "../../graph/gradient.ts";
import { inspectCheckpoint, loadCheckpoint } from "../../infer/load.ts";
import { decoderForward, modelParameters } from "../../models/decoder.ts";
import { rotaryFrequencies, rotaryTables } from "../../models/rotary.ts";
import { type CaseResult, type Compared, NOT_IMPLEMENTED, worstOf } from "./result.ts";

/** The folders of a golden directory that are checkpoints with expected values. */
export function checkpointFolders(folder: string): string[] {
  return [...Deno.readDirSync(folder)]
    .filter(({ name, isDirectory }) => isDirectory && isFile(join(folder, name, EXPECTED)))
    .map(({ name }) => name)
    .sort();
}

const EXPECTED = "expected.safetensors";

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Whether a model type is one that we read at all. */
function isKnown(folder: string): boolean {
  const { model_type } = readJsonObject(join(folder, "config.json"), CONFIG_LIMIT);
  return MODEL_TYPES.some((type) => type === model_type);
}

/** Runs a checkpoint's case on a device, in the parallel form. */
export async function runCheckpoint(device: Device, folder: string): Promise<CaseResult> {
  const name = basename(folder);
  if (!isKnown(folder)) return { name, problem: NOT_IMPLEMENTED };
  const checkpoint = inspectCheckpoint(folder);
  const { spec } = checkpoint;
  using expected = openSafetensors(join(folder, EXPECTED));
  const [batch, time] = expected.info("ids").shape;
  const { headDim, vocabSize, layers } = spec.config;
  const tables = [1, time, headDim / 2];
  const model = loadCheckpoint(device, checkpoint);
  try {
    const parameters = modelParameters(spec).map((parameter) => parameter.name);
    const weight = (name: string) => model.inputs.get(name)!;
    const output = decoderForward(spec, {
      ids: g.input("ids", [batch, time], "i32"),
      cosine: g.input("cosine", tables),
      sine: g.input("sine", tables),
      weight,
    });
    const targets = g.input("targets", [batch * time], "i32");
    const loss = g.meanAll(g.crossEntropy(output.hidden, output.head, targets));
    const mixers = g.concat(output.traces.map(({ y }) => g.reshape(y, [1, ...y.shape])), 0);
    const logits = g.matmul(output.hidden, output.head, { transposeB: true });
    const graph = [
      g.reshape(logits, [batch, time, vocabSize]),
      mixers,
      loss,
      ...gradients(loss, parameters.map(weight)),
    ];
    const positions = Array.from({ length: time }, (_, i) => i);
    const values = {
      ids: expected.readI32("ids"),
      targets: expected.readI32("targets"),
      ...rotaryTables(rotaryFrequencies(spec.config), positions),
    };
    const found = await compute(device, graph, values, model.bindings);
    const grads = new Map(parameters.map((name, i) => [name, found[3 + i]]));
    const squares = [...grads.values()].map((data) => data.reduce((sum, x) => sum + x * x, 0));
    const norm = Math.sqrt(squares.reduce((a, b) => a + b, 0));
    const computed = new Map<string, ArrayLike<number>>([
      ["logits", found[0]],
      ["mixer_out", found[1]],
      ["cross_entropy", found[2]],
      ["grad_norm", [norm]],
      ...[...grads].map(([name, data]) => [`grad.${name}`, data] as const),
    ]);
    const compared = [...expected.tensors.keys()]
      .filter((key) => key !== "ids" && key !== "targets")
      .map((tensor): Compared => {
        const data = computed.get(tensor);
        if (data === undefined) throw new Error(`${tensor} is not computed for ${layers} layers`);
        return { tensor, found: data, expected: expected.readF32(tensor) };
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
