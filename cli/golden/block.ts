/** Golden cases of single blocks and losses: inputs, outputs, and gradients by given cotangents. */

import { join } from "node:path";
import { compute } from "../../devices/compute.ts";
import type { Device } from "../../devices/device.ts";
import type { JsonObject } from "../../formats/json.ts";
import { openSafetensors, type TensorStore } from "../../formats/safetensors/store.ts";
import * as g from "../../graph/build.ts";
import { gradients, vectorJacobian } from "../../graph/gradient.ts";
import { size, type Tensor } from "../../graph/tensor.ts";
import type { DecoderConfig, MixerSpec } from "../../models/config.ts";
import { mixerForward } from "../../models/decoder.ts";
import { rotaryFrequencies, rotaryTables } from "../../models/rotary.ts";
import { alignmentLoss } from "../../train/losses.ts";
import type { BlockCase } from "./manifest.ts";
import { type CaseResult, type Compared, worstOf } from "./result.ts";

/** What a kind of block is given. */
interface Block {
  readonly config: JsonObject;
  readonly store: TensorStore;
  /** Whether the file has a tensor. */
  has(name: string): boolean;
  /** The graph input of a stored tensor. */
  input(name: string): Tensor;
  /** A number of the config. */
  number(name: string): number;
}

/** What a kind of block computes, by the names after `out.` and `grad.`. */
interface Computed {
  readonly outputs: Readonly<Record<string, Tensor>>;
  /** Only where the stored cotangents do not give them. */
  readonly gradients?: Readonly<Record<string, Tensor>>;
  /** Values of further inputs. */
  readonly values?: Readonly<Record<string, Float32Array>>;
}

/** The state before a recurrence: what is stored, or nothing yet. */
function stateBefore({ has, input }: Block): Tensor {
  const [batch, , heads, width] = input("in.r").shape;
  return has("in.state") ? input("in.state") : g.constant(0, [batch, heads, width, width]);
}

function wkv6(block: Block): Computed {
  const [r, w, k, v] = ["r", "w", "k", "v"].map((n) => block.input(`in.${n}`));
  const { y, state } = g.wkv6({ r, w, k, v }, stateBefore(block));
  return { outputs: { y, state } };
}

function wkv7(block: Block): Computed {
  const names = ["r", "w", "k", "v", "kappa", "a"];
  const [r, w, k, v, kappa, a] = names.map((n) => block.input(`in.${n}`));
  const { y, state } = g.wkv7({ r, w, k, v, kappa, a }, stateBefore(block));
  return { outputs: { y, state } };
}

/** A mixer with its rotary tables; `spec` is what it is. */
function mixer(block: Block, spec: MixerSpec, layer: number): Computed {
  const { has, input, number, store } = block;
  const x = input("in.x");
  const [batch, time, hiddenSize] = x.shape;
  const [attentionHeads, keyValueHeads, headDim] = [number("H"), number("K"), number("N")];
  const config: DecoderConfig = {
    vocabSize: 1,
    hiddenSize,
    intermediateSize: 1,
    layers: layer + 1,
    attentionHeads,
    keyValueHeads,
    headDim,
    rmsNormEps: 1e-6,
    ropeTheta: typeof block.config.theta === "number" ? block.config.theta : 10000,
    ropeScaling: null,
    tieWordEmbeddings: false,
    attentionBias: has("param.q_proj.bias"),
    attentionOutputBias: has("param.o_proj.bias"),
    attentionQkNorm: has("param.q_norm.weight"),
    mlpBias: false,
  };
  const positions = Array.from({ length: time }, (_, i) => i);
  const tables = rotaryTables(rotaryFrequencies(config), positions);
  const asHeads = (t: Tensor) => g.reshape(t, [batch, time, attentionHeads, headDim]);
  const { y, value } = mixerForward(spec, {
    config,
    layer,
    x,
    weight: (name) => input(`param.${name}`),
    cosine: g.input("cosine", [1, time, headDim / 2]),
    sine: g.input("sine", [1, time, headDim / 2]),
    firstValue: has("in.v_first") ? asHeads(input("in.v_first")) : undefined,
  });
  const first = store.tensors.get("out.v_first");
  return {
    outputs: { y, ...(first === undefined ? {} : { v_first: g.reshape(value, first.shape) }) },
    values: tables,
  };
}

const attention = (block: Block): Computed => mixer(block, { kind: "attention" }, 0);

/** The rank of a first LoRA matrix. */
function rankOf({ has, input }: Block, name: string): number {
  return has(`param.${name}`) ? input(`param.${name}`).shape[1] : 1;
}

/** A flag by any of its names. */
function flagOf({ config }: Block, names: readonly string[], otherwise: boolean): boolean {
  const name = names.find((name) => typeof config[name] === "boolean");
  return name === undefined ? otherwise : config[name] === true;
}

/** Flags that the config does not name are those of the published checkpoints, or what is stored. */
function flagsOf(block: Block, published: { rope: boolean; balanceState: boolean }) {
  const { has } = block;
  return {
    rope: flagOf(block, ["use_rope", "rope"], published.rope),
    balanceState: flagOf(block, ["balance", "balance_state"], published.balanceState),
    groupNorm: flagOf(block, ["groupnorm", "groupnorm_att"], has("param.ln_x.weight")),
    gate: has("param.gate.weight") ? 1 : has("param.g1") ? 2 : 0,
  } as const;
}

function radRwkv6(block: Block): Computed {
  const spec: MixerSpec = {
    kind: "radRwkv6",
    ...flagsOf(block, { rope: false, balanceState: true }),
    tokenShift: flagOf(block, ["use_tokenshift", "tokenshift"], true),
    ranks: {
      tokenShift: rankOf(block, "time_maa_w2"),
      decay: rankOf(block, "time_decay_w1"),
      gate: rankOf(block, "g1"),
    },
  };
  return mixer(block, spec, 0);
}

function radRwkv7(block: Block): Computed {
  const { config } = block;
  const rank = (name: string) => rankOf(block, name);
  const spec: MixerSpec = {
    kind: "radRwkv7",
    ...flagsOf(block, { rope: true, balanceState: false }),
    ranks: { decay: rank("w1"), iclr: rank("a1"), valueResidual: rank("v1"), gate: rank("g1") },
  };
  return mixer(block, spec, typeof config.layer === "number" ? config.layer : 0);
}

function stage1Loss({ input }: Block): Computed {
  return { outputs: { loss: alignmentLoss(input("in.teacher"), input("in.student")) } };
}

/** log softmax over the last axis. */
function logSoftmax(x: Tensor): Tensor {
  const shifted = g.sub(x, g.largest(x, [-1]));
  return g.sub(shifted, g.log(g.sum(g.exp(shifted), [-1])));
}

/**
 * The kernel fuses the head with the loss and leaves the teacher alone: the student's side goes
 * through it with an identity as head, the teacher's gradient comes from primitives.
 */
function klLoss({ input }: Block): Computed {
  const [teacher, student] = [input("in.teacher"), input("in.student")];
  const vocabulary = student.shape[student.shape.length - 1];
  const rows = (t: Tensor) => g.reshape(t, [size(t.shape) / vocabulary, vocabulary]);
  const column = g.iota([vocabulary, vocabulary]);
  const identity = g.equal(column, g.permute(column, [1, 0]));
  const losses = g.klDivergence(rows(student), identity, rows(teacher), identity);
  const loss = g.meanAll(losses);
  const [logP, logQ] = [logSoftmax(teacher), logSoftmax(student)];
  const plain = g.meanAll(g.sum(g.mul(g.exp(logP), g.sub(logP, logQ)), [-1]));
  const cotangent = input("cotangent.loss");
  return {
    outputs: { loss },
    gradients: {
      "in.student": g.mul(gradients(loss, [student])[0], cotangent),
      "in.teacher": g.mul(gradients(plain, [teacher])[0], cotangent),
    },
  };
}

/** The kind of a block by what its file and config hold. Throws for one that is not known. */
function kindOf({ has, config, store }: Block): (block: Block) => Computed {
  if (has("in.kappa")) return wkv7;
  if (has("in.w")) return wkv6;
  if (has("param.w0")) return radRwkv7;
  if (has("param.time_decay")) return radRwkv6;
  if (has("param.q_proj.weight")) return attention;
  if (has("in.teacher") && has("in.student")) {
    if ("V" in config) return klLoss;
    if ("layers" in config) return stage1Loss;
    throw new Error("config: expected V, which a KL loss has, or layers, which a stage-1 loss has");
  }
  const names = [...store.tensors.keys()].join(", ");
  throw new Error(`expected the tensors of a recurrence, a mixer or a loss, found ${names}`);
}

function blockOf(store: TensorStore, config: JsonObject): Block {
  const inputs = new Map<string, Tensor>();
  return {
    config,
    store,
    has: (name) => store.tensors.has(name),
    input: (name) => {
      const known = inputs.get(name) ?? g.input(name, store.info(name).shape);
      inputs.set(name, known);
      return known;
    },
    number: (name) => {
      const value = config[name];
      if (typeof value !== "number") throw new Error(`config.${name}: expected a number`);
      return value;
    },
  };
}

/** A stored tensor and what it is compared with. */
interface Check {
  readonly tensor: string;
  readonly stored: string;
  readonly computed: Tensor;
}

/** The checks of all stored tensors that begin with a prefix. */
function checksOf(
  { store }: Block,
  prefix: string,
  computed: Readonly<Record<string, Tensor>>,
): Check[] {
  return storedNames(store, prefix).map((tensor) => {
    if (computed[tensor] === undefined) throw new Error(`${tensor} is not computed by this block`);
    return { tensor, stored: `${prefix}${tensor}`, computed: computed[tensor] };
  });
}

/** Names of a file's tensors after a prefix. */
function storedNames(store: TensorStore, prefix: string): string[] {
  return [...store.tensors.keys()]
    .filter((key) => key.startsWith(prefix))
    .map((key) => key.slice(prefix.length));
}

/** Gradients of all inputs and parameters whose gradients are stored, by the stored cotangents. */
function derive({ store, input }: Block, outputs: Computed["outputs"]): Record<string, Tensor> {
  const cotangents = storedNames(store, "cotangent.")
    .filter((name) => outputs[name] !== undefined)
    .map((name) => ({ of: outputs[name], gradient: input(`cotangent.${name}`) }));
  const wrt = storedNames(store, "grad.");
  const derived = vectorJacobian(cotangents, wrt.map(input));
  return Object.fromEntries(wrt.map((name, i) => [name, derived[i]]));
}

/** Runs a case on a device. */
export async function runBlock(
  device: Device,
  folder: string,
  { name, config }: BlockCase,
): Promise<CaseResult> {
  using store = openSafetensors(join(folder, `${name}.safetensors`));
  const block = blockOf(store, config);
  const kind = kindOf(block);
  const { outputs, gradients = derive(block, outputs), values } = kind(block);
  const checks = [checksOf(block, "out.", outputs), checksOf(block, "grad.", gradients)];
  const given = [...store.tensors.keys()].filter((key) => /^(in|param|cotangent)\./.test(key));
  const stored = Object.fromEntries(given.map((key) => [key, store.readF32(key)]));
  const all = checks.flat();
  const found = await compute(device, all.map(({ computed }) => computed), {
    ...stored,
    ...values,
  });
  const compared = all.map(({ tensor, stored }, i): Compared => {
    return { tensor, found: found[i], expected: store.readF32(stored) };
  });
  return {
    name,
    outputs: worstOf(compared.slice(0, checks[0].length)),
    gradients: worstOf(compared.slice(checks[0].length)),
  };
}
