/** Stage 1 layer by layer: what is to be done in each layer, and its graph. */

import type { Stage } from "../../dsl/stages.ts";
import * as g from "../../graph/build.ts";
import { gradients } from "../../graph/gradient.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { DecoderConfig, MixerSpec, ModelSpec } from "../../models/config.ts";
import { layerForward, layerParameters, layerPrefix, mixerForward } from "../../models/decoder.ts";
import type { Parameter } from "../../models/parameter.ts";
import { alignmentLoss, isAligned } from "../losses.ts";
import { TEACHER_PREFIX, trainedParameters } from "../stage_graph.ts";

/** Layer 0's values, [rows, time, heads, headDim], which later layers of RAD-RWKV7 read. */
export type ValueName = "teacher.firstValue" | "student.firstValue";

/** What a layer is to the walk. Parameters have their names under `model.layers.N.`. */
export interface LayerRole {
  /** Layers with the same key have the same graph. */
  readonly key: string;
  readonly layer: number;
  readonly teacher: MixerSpec;
  /** What is read of the teacher: of the last layer only what comes before its MLP. */
  readonly given: readonly Parameter[];
  /** Where the layer is aligned, the mixer and what of it is trained and what is not. */
  readonly student?: MixerSpec;
  readonly trained: readonly Parameter[];
  readonly frozen: readonly Parameter[];
  /** Whether nothing comes after it. */
  readonly isLast: boolean;
}

/** The layers of a stage, from the first to the last that is aligned. */
export interface StreamedLayers {
  readonly config: DecoderConfig;
  readonly stage: Stage;
  readonly roles: readonly LayerRole[];
  /** Layers that are aligned: the loss is the mean over them. */
  readonly aligned: number;
  /** Values that layer 0 passes on. */
  readonly values: readonly ValueName[];
}

const within = (layer: number, parameters: readonly Parameter[]): Parameter[] => {
  const { length } = layerPrefix(layer);
  return parameters.map((parameter) => ({ ...parameter, name: parameter.name.slice(length) }));
};

/** What a stage 1 does layer by layer. */
export function streamedLayers(
  stage: Stage,
  student: ModelSpec,
  teacher: ModelSpec,
): StreamedLayers {
  const { config } = student;
  const aligns = (layer: number) => isAligned(student, teacher, layer);
  const aligned = student.mixers.flatMap((_, layer) => aligns(layer) ? [layer] : []);
  const last = aligned[aligned.length - 1];
  const trained = new Set(trainedParameters(stage, student, teacher).map(({ name }) => name));
  const roles = student.mixers.slice(0, last + 1).map((mixer, layer) => {
    const parameters = layerParameters(config, teacher.mixers[layer], layer);
    const isLast = layer === last;
    const needed = ({ name, mixer }: Parameter) => mixer || name.endsWith("input_layernorm.weight");
    const own = aligns(layer)
      ? layerParameters(config, mixer, layer).filter(({ mixer }) => mixer)
      : [];
    const role = {
      teacher: teacher.mixers[layer],
      given: within(layer, isLast ? parameters.filter(needed) : parameters),
      ...(aligns(layer) && { student: mixer }),
      trained: within(layer, own.filter(({ name }) => trained.has(name))),
      frozen: within(layer, own.filter(({ name }) => !trained.has(name))),
      isLast,
    };
    const names = role.trained.map(({ name }) => name);
    const key = JSON.stringify([layer === 0, role.teacher, role.student ?? null, names, isLast]);
    return { ...role, key, layer };
  });
  const residual = ({ kind }: MixerSpec) => kind === "radRwkv7";
  const ofStudent = aligned.some((layer) => layer > 0 && residual(student.mixers[layer]));
  const ofTeacher = teacher.mixers.slice(1, last + 1).some(residual);
  // Where layer 0 keeps its mixer, the student's values are the teacher's.
  const own = ofStudent && aligns(0);
  return {
    config,
    stage,
    roles,
    aligned: aligned.length,
    values: [
      ...(ofTeacher || (ofStudent && !own) ? ["teacher.firstValue" as const] : []),
      ...(own ? ["student.firstValue" as const] : []),
    ],
  };
}

/** A model's forward pass layer by layer, all of it, as the teacher of a stage that aligns nothing. */
export function forwardLayers(stage: Stage, { config, mixers }: ModelSpec): StreamedLayers {
  const roles = mixers.map((teacher, layer): LayerRole => ({
    key: JSON.stringify([layer === 0, teacher]),
    layer,
    teacher,
    given: within(layer, layerParameters(config, teacher, layer)),
    trained: [],
    frozen: [],
    isLast: false,
  }));
  const residual = mixers.slice(1).some(({ kind }) => kind === "radRwkv7");
  return { config, stage, roles, aligned: 1, values: residual ? ["teacher.firstValue"] : [] };
}

/** Shapes of one part of a batch. */
export function partShapes({ config, stage }: Pick<StreamedLayers, "config" | "stage">) {
  const { hiddenSize, attentionHeads, headDim } = config;
  const rows = stage.batch / stage.accumulate;
  return {
    stream: [rows, stage.context, hiddenSize],
    value: [rows, stage.context, attentionHeads, headDim],
  } as const;
}

/** The results of a layer's graph. */
export interface LayerGraph {
  /**
   * The layer's part of the stage's loss, [1], and its gradients by `trained`; the scale is that of
   * `stageGraph`, so that gradients have the same bits.
   */
  readonly loss: readonly Tensor[];
  /** What is passed on: the stream after the layer, and the values of layer 0. */
  readonly passed: Readonly<Partial<Record<"next" | ValueName, Tensor>>>;
}

/**
 * The graph of a layer for one part of a batch. Its inputs are `stream` [rows, context, hidden], the
 * teacher's stream before the layer, `cosine` and `sine` [1, context, headDim/2], the values of layer
 * 0 that it reads, and the parameters, the teacher's with a prefix.
 */
export function layerGraph(
  { config, stage, aligned, values }: StreamedLayers,
  role: LayerRole,
): LayerGraph {
  const { layer, student } = role;
  const half = config.headDim / 2;
  const shapes = partShapes({ config, stage });
  const table = (name: string) => g.input(name, [1, stage.context, half]);
  const inputs = (parameters: readonly Parameter[], prefix: string) => {
    const known = new Map(
      parameters.map(({ name, shape }) => [name, g.input(prefix + name, shape)]),
    );
    return (name: string) => known.get(name)!;
  };
  const first = (name: ValueName) =>
    layer > 0 && values.includes(name) ? g.input(name, shapes.value) : undefined;
  const all = { config, layer, cosine: table("cosine"), sine: table("sine") };
  const trace = layerForward(role.teacher, {
    ...all,
    stream: g.input("stream", shapes.stream),
    // Of the last layer the stream is not computed.
    weight: inputs(layerParametersOf(config, role), TEACHER_PREFIX),
    firstValue: first("teacher.firstValue"),
  });
  const passed: Partial<Record<"next" | ValueName, Tensor>> = {};
  if (!role.isLast) passed.next = trace.stream;
  const passes = (name: ValueName) => layer === 0 && values.includes(name);
  if (passes("teacher.firstValue")) passed["teacher.firstValue"] = trace.value;
  if (student === undefined) return { loss: [], passed };
  const weight = inputs([...role.trained, ...role.frozen], "");
  const { y, value } = mixerForward(student, {
    ...all,
    x: trace.x,
    weight: (name) => weight(`self_attn.${name}`),
    firstValue: first("student.firstValue") ?? first("teacher.firstValue"),
  });
  if (passes("student.firstValue")) passed["student.firstValue"] = value;
  const mean = g.mul(alignmentLoss(trace.y, y), 1 / aligned);
  const loss = g.mul(mean, 1 / stage.accumulate);
  const wanted = role.trained.map(({ name }) => weight(name));
  return { loss: [loss, ...gradients(loss, wanted)], passed };
}

const layerParametersOf = (config: DecoderConfig, { teacher, layer }: LayerRole): Parameter[] =>
  within(layer, layerParameters(config, teacher, layer));
