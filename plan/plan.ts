/** What a recipe will do, before it does it: layers, parameters, bytes. Pure. */

import type { Recipe } from "../dsl/recipe.ts";
import type { Schedule } from "../dsl/schedules.ts";
import { type StageKind, stepsOf } from "../dsl/stages.ts";
import type { ModelConfig } from "../formats/hf_config/config.ts";
import type { MixerSpec, ModelSpec } from "../models/config.ts";
import { mixerPrefix, mixerStateShapes, modelParameters } from "../models/decoder.ts";
import type { Parameter } from "../models/parameter.ts";
import type { Conversion } from "./conversion.ts";

/** What becomes of one layer. */
export interface LayerPlan {
  readonly layer: number;
  readonly from: string;
  readonly to: string;
  /** Parameters of the mixer, and how many of them start from the teacher's. */
  readonly parameters: number;
  readonly copied: number;
  /** Bytes of state, f32, after 32 K tokens. */
  readonly stateBytes: number;
}

/** What one stage will train. */
export interface StagePlan {
  readonly name: string;
  readonly kind: StageKind;
  readonly steps: number;
  readonly tokens: number;
  readonly context: number;
  readonly batch: number;
  readonly lr: Schedule;
  /** The mixers' own, where they have one. */
  readonly mixerLr?: Schedule;
  /** Parameters that it changes. */
  readonly trained: number;
}

/** The whole plan. */
export interface Plan {
  readonly layers: readonly LayerPlan[];
  readonly stages: readonly StagePlan[];
  readonly parameters: number;
  /** Bytes of the weights in f32. */
  readonly weightBytes: number;
  readonly stateBytesAt32K: number;
  /** The teacher's, without surgery. */
  readonly teacher?: { readonly parameters: number; readonly stateBytesAt32K: number };
}

/** Number of values. */
export function count(parameters: readonly Pick<Parameter, "shape">[]): number {
  return parameters.reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0);
}

/** The flags that converting mixers share. */
function flagTexts(
  { rope, groupNorm, balanceState, gate }: Exclude<MixerSpec, { kind: "attention" }>,
): string[] {
  return [
    rope ? "rope" : "no rope",
    groupNorm ? "groupnorm" : "no groupnorm",
    ...(balanceState ? ["balanced"] : []),
    `gate ${gate}`,
  ];
}

/** A mixer in a few words: its flags and ranks. */
export function mixerText(mixer: MixerSpec): string {
  switch (mixer.kind) {
    case "attention":
      return mixer.window === undefined ? "attention" : `attention (window ${mixer.window})`;
    case "radRwkv6": {
      const { tokenShift, gate, ranks } = mixer;
      const flags = [tokenShift ? "token shift" : "no token shift", ...flagTexts(mixer)];
      const low = [
        ...(tokenShift ? [ranks.tokenShift] : []),
        ranks.decay,
        ...(gate === 2 ? [ranks.gate] : []),
      ];
      return `RAD-RWKV6 (${flags.join(", ")}; ranks ${low.join("/")})`;
    }
    case "radRwkv7": {
      const { gate, ranks } = mixer;
      const flags = flagTexts(mixer);
      const { decay, iclr, valueResidual } = ranks;
      const low = [decay, iclr, valueResidual, ...(gate === 2 ? [ranks.gate] : [])];
      return `RAD-RWKV7 (${flags.join(", ")}; ranks ${low.join("/")})`;
    }
    default:
      return mixer satisfies never;
  }
}

/** Tokens of a long text: after them a state is weighed, and FLOPs are an average over them. */
export const LONG = 32768;

function layerState({ config, mixers }: ModelSpec, layer: number): number {
  const shapes = Object.values(mixerStateShapes(config, mixers[layer], 1, LONG));
  return 4 * count(shapes.map((shape) => ({ shape })));
}

function stateOf(spec: ModelSpec): number {
  return spec.mixers.reduce((sum, _, layer) => sum + layerState(spec, layer), 0);
}

/** The plan of a recipe; `trainedOf` tells the parameters of a stage. */
export function planOf(
  { stages }: Recipe,
  student: ModelSpec,
  trainedOf: (index: number) => readonly Parameter[],
  from?: {
    readonly spec: ModelSpec;
    readonly config: ModelConfig;
    readonly conversion: Conversion;
  },
): Plan {
  const copied = new Set(
    from?.conversion.transfers.flatMap(({ parameter, from }) =>
      from === undefined ? [] : [parameter.name]
    ),
  );
  const all = modelParameters(student);
  const choice = from?.conversion.choice;
  const layers = student.mixers.map((mixer, layer): LayerPlan => {
    const own = all.filter(({ name }) => name.startsWith(mixerPrefix(layer)));
    const teacherMixer = from?.spec.mixers[layer];
    const kept = teacherMixer === mixer;
    return {
      layer,
      from: teacherMixer === undefined ? "new" : mixerText(teacherMixer),
      to: kept
        ? "kept"
        : `${mixerText(mixer)}${
          choice?.layers.includes(layer) ? `, or kept: ${choice.count} of these` : ""
        }`,
      parameters: count(own),
      copied: count(own.filter(({ name }) => copied.has(name))),
      stateBytes: layerState(student, layer),
    };
  });
  return {
    layers,
    stages: stages.map((stage, index) => ({
      name: stage.name,
      kind: stage.kind,
      steps: stepsOf(stage),
      tokens: stepsOf(stage) * stage.batch * stage.context,
      context: stage.context,
      batch: stage.batch,
      lr: stage.lr,
      ...(stage.mixerLr && { mixerLr: stage.mixerLr }),
      trained: count(trainedOf(index)),
    })),
    parameters: count(all),
    weightBytes: 4 * count(all),
    stateBytesAt32K: stateOf(student),
    ...(from === undefined ? {} : {
      teacher: {
        parameters: count(modelParameters(from.spec)),
        stateBytesAt32K: stateOf(from.spec),
      },
    }),
  };
}
