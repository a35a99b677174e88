/**
 * Rotary embeddings in config.json: `rope_theta` with `rope_scaling`, or both in `rope_parameters`
 * as transformers 5 writes them.
 */
import type { JsonObject } from "../json.ts";
import type { Fields } from "./fields.ts";

/**
 * How Llama 3 stretches the wavelengths for contexts beyond `originalMaxPositionEmbeddings`: those
 * longer than original / lowFreqFactor by `factor`, those shorter than original / highFreqFactor
 * not at all, the ones between by interpolation.
 */
export interface RopeScaling {
  readonly type: "llama3";
  readonly factor: number;
  readonly lowFreqFactor: number;
  readonly highFreqFactor: number;
  readonly originalMaxPositionEmbeddings: number;
}

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
  return {
    ropeTheta,
    ropeScaling: inner === undefined ? null : readScaling(inner, maxPositionEmbeddings),
  };
}

function readScaling(fields: Fields, maxPositionEmbeddings: number): RopeScaling | null {
  const key = fields.has("rope_type") ? "rope_type" : "type";
  const type = fields.oneOf(key, ["default", "llama3"], "default");
  if (type === "default") return null;
  const lowFreqFactor = fields.positive("low_freq_factor");
  const highFreqFactor = fields.positive("high_freq_factor");
  if (highFreqFactor <= lowFreqFactor && fields.has("low_freq_factor")) {
    fields.problem("high_freq_factor", `more than the low_freq_factor of ${lowFreqFactor}`);
  }
  return Object.freeze({
    type,
    factor: fields.positive("factor"),
    lowFreqFactor,
    highFreqFactor,
    originalMaxPositionEmbeddings: fields.size(
      "original_max_position_embeddings",
      maxPositionEmbeddings,
    ),
  });
}

/** The older form, which every version reads. */
export function writeRope({ ropeTheta, ropeScaling }: Rope): JsonObject {
  if (ropeScaling === null) return { rope_theta: ropeTheta };
  return {
    rope_theta: ropeTheta,
    rope_scaling: {
      rope_type: ropeScaling.type,
      factor: ropeScaling.factor,
      low_freq_factor: ropeScaling.lowFreqFactor,
      high_freq_factor: ropeScaling.highFreqFactor,
      original_max_position_embeddings: ropeScaling.originalMaxPositionEmbeddings,
    },
  };
}
