/**
 * Rotary embeddings in config.json: `rope_theta` with `rope_scaling`, or both in `rope_parameters`
 * as transformers 5 writes them.
 */
import type { JsonObject } from "../json.ts";
import type { Fields } from "./fields.ts";

/** Every wavelength is stretched by `factor`. */
export interface LinearScaling {
  readonly type: "linear";
  readonly factor: number;
}

/**
 * How Llama 3 stretches the wavelengths for contexts beyond `originalMaxPositionEmbeddings`: those
 * longer than original / lowFreqFactor by `factor`, those shorter than original / highFreqFactor
 * not at all, the ones between by interpolation.
 */
export interface Llama3Scaling {
  readonly type: "llama3";
  readonly factor: number;
  readonly lowFreqFactor: number;
  readonly highFreqFactor: number;
  readonly originalMaxPositionEmbeddings: number;
}

/**
 * YaRN (arXiv 2309.00071): pairs that turn more than `betaFast` times within
 * `originalMaxPositionEmbeddings` stay, those that turn less than `betaSlow` times are stretched by
 * `factor`, the ones between by interpolation over their number, of whole numbers where `truncate`
 * says so. Cosines and sines are multiplied with `attentionFactor`.
 */
export interface YarnScaling {
  readonly type: "yarn";
  readonly factor: number;
  readonly originalMaxPositionEmbeddings: number;
  readonly betaFast: number;
  readonly betaSlow: number;
  readonly truncate: boolean;
  readonly attentionFactor: number;
}

/** How wavelengths are stretched for contexts beyond those of pretraining. */
export type RopeScaling = LinearScaling | Llama3Scaling | YarnScaling;

/** Both keys of rotary embeddings. */
export interface Rope {
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling | null;
}

const DEFAULT_THETA = 10000;

/** Reads both forms. The inner values win over those at the top, as in transformers. */
export function readRope(fields: Fields, maxPositionEmbeddings: number): Rope {
  const inner = fields.object("rope_scaling") ?? fields.object("rope_parameters");
  const holder = inner?.has("rope_theta") ? inner : fields;
  const ropeTheta = holder.positive("rope_theta", DEFAULT_THETA);
  for (const place of inner === undefined ? [fields] : [inner, fields]) {
    if (place.positive("partial_rotary_factor", 1) !== 1) {
      place.problem("partial_rotary_factor", "1", "partly rotated heads are not implemented");
    }
  }
  if (inner === undefined) return { ropeTheta, ropeScaling: null };
  for (const type of ["full_attention", "sliding_attention"]) {
    if (inner.has(type)) inner.problem(type, "nothing", "angles by layer are not implemented");
  }
  // Where the file says it at the top, that counts before what the scaling says.
  const key = "original_max_position_embeddings";
  const original = fields.has(key) ? fields : inner;
  return {
    ropeTheta,
    ropeScaling: readScaling(
      inner,
      maxPositionEmbeddings,
      () => original.size(key, maxPositionEmbeddings),
    ),
  };
}

function readScaling(
  fields: Fields,
  maxPositionEmbeddings: number,
  original: () => number,
): RopeScaling | null {
  const key = fields.has("rope_type") ? "rope_type" : "type";
  const type = fields.oneOf(key, ["default", "linear", "llama3", "yarn"], "default", ADVICE);
  switch (type) {
    case "default":
      return null;
    case "linear":
      return Object.freeze({ type, factor: fields.positive("factor") });
    case "llama3":
      return Object.freeze(readLlama3(fields, original()));
    case "yarn":
      return Object.freeze(readYarn(fields, maxPositionEmbeddings, original()));
    default:
      return type satisfies never;
  }
}

const ADVICE = "dynamic and longrope turn by angles that depend on the length of the text";

function readLlama3(fields: Fields, originalMaxPositionEmbeddings: number): Llama3Scaling {
  const lowFreqFactor = fields.positive("low_freq_factor");
  const highFreqFactor = fields.positive("high_freq_factor");
  if (highFreqFactor <= lowFreqFactor && fields.has("low_freq_factor")) {
    fields.problem("high_freq_factor", `more than the low_freq_factor of ${lowFreqFactor}`);
  }
  return {
    type: "llama3",
    factor: fields.positive("factor"),
    lowFreqFactor,
    highFreqFactor,
    originalMaxPositionEmbeddings,
  };
}

/** By how much attention is sharpened for a stretching: 0.1·m·ln s + 1 (YaRN, section 3.4). */
const sharpening = (stretch: number, m = 1) => stretch <= 1 ? 1 : 0.1 * m * Math.log(stretch) + 1;

function readYarn(
  fields: Fields,
  maxPositionEmbeddings: number,
  originalMaxPositionEmbeddings: number,
): YarnScaling {
  const factor = fields.positive("factor", maxPositionEmbeddings / originalMaxPositionEmbeddings);
  const [betaFast, betaSlow] = [fields.positive("beta_fast", 32), fields.positive("beta_slow", 1)];
  if (betaFast <= betaSlow) fields.problem("beta_fast", `more than the beta_slow of ${betaSlow}`);
  // transformers takes a 0 for absence.
  const both = Boolean(fields.json.mscale) && Boolean(fields.json.mscale_all_dim);
  const attentionFactor = both
    ? sharpening(factor, fields.positive("mscale")) /
      sharpening(factor, fields.positive("mscale_all_dim"))
    : sharpening(factor);
  return {
    type: "yarn",
    factor,
    originalMaxPositionEmbeddings,
    betaFast,
    betaSlow,
    truncate: fields.flag("truncate", true),
    attentionFactor: fields.positive("attention_factor", attentionFactor),
  };
}

/** The older form, which every version reads. */
export function writeRope({ ropeTheta, ropeScaling }: Rope): JsonObject {
  if (ropeScaling === null) return { rope_theta: ropeTheta };
  return { rope_theta: ropeTheta, rope_scaling: writeScaling(ropeScaling) };
}

function writeScaling(scaling: RopeScaling): JsonObject {
  const shared = { rope_type: scaling.type, factor: scaling.factor };
  switch (scaling.type) {
    case "linear":
      return shared;
    case "llama3":
      return {
        ...shared,
        low_freq_factor: scaling.lowFreqFactor,
        high_freq_factor: scaling.highFreqFactor,
        original_max_position_embeddings: scaling.originalMaxPositionEmbeddings,
      };
    case "yarn":
      return {
        ...shared,
        original_max_position_embeddings: scaling.originalMaxPositionEmbeddings,
        beta_fast: scaling.betaFast,
        beta_slow: scaling.betaSlow,
        ...(scaling.truncate ? {} : { truncate: false }),
        attention_factor: scaling.attentionFactor,
      };
    default:
      return scaling satisfies never;
  }
}
