/** Sliding windows in config.json: which layers see the latest keys only, and how many of them. */
import type { JsonObject } from "../json.ts";
import type { Fields } from "./fields.ts";

/** The windows of a decoder's attention layers. */
export interface SlidingWindow {
  /** Keys that a query sees, its own included; null where every layer sees all. */
  readonly slidingWindow: number | null;
  /** The layers of that window, in ascending order. */
  readonly slidingLayers: readonly number[];
}

/** No layer has a window. */
export const NO_WINDOW: SlidingWindow = Object.freeze({ slidingWindow: null, slidingLayers: [] });

/** The window of a family whose file does not mention it. */
const DEFAULT_WINDOW = 4096;
/** The first layer with a window, where the file does not say which have one. */
const DEFAULT_FULL_LAYERS = 28;

/** `sliding_window`: unlike with other keys, null is no window, and absence is the default. */
export function readWindow(fields: Fields): number | null {
  const key = "sliding_window";
  const isNull = Object.hasOwn(fields.json, key) && fields.json[key] === null;
  return isNull ? null : fields.size(key, DEFAULT_WINDOW);
}

/** The layers from `first` on. */
export function layersFrom(first: number, layers: number): readonly number[] {
  return Array.from({ length: Math.max(0, layers - first) }, (_, i) => first + i);
}

/**
 * Windows as Qwen's families write them: `use_sliding_window` with `sliding_window`, in the layers
 * that `layer_types` names, or in those from `max_window_layers` on.
 * @param converted layers without attention, which `layer_types` may call linear
 */
export function readSlidingWindow(
  fields: Fields,
  layers: number,
  converted: readonly number[] = [],
): SlidingWindow {
  const slidingWindow = fields.flag("use_sliding_window", false) ? readWindow(fields) : null;
  const sliding = readSlidingLayers(fields, layers, slidingWindow, converted)
    .filter((layer) => !converted.includes(layer));
  return sliding.length === 0 ? NO_WINDOW : { slidingWindow, slidingLayers: sliding };
}

function readSlidingLayers(
  fields: Fields,
  layers: number,
  window: number | null,
  converted: readonly number[],
): readonly number[] {
  const key = "layer_types";
  if (!fields.has(key)) {
    const first = fields.count("max_window_layers", DEFAULT_FULL_LAYERS);
    return window === null ? [] : layersFrom(first, layers);
  }
  const types = fields.json[key];
  const known = (type: unknown, layer: number) =>
    type === "full_attention" || type === "sliding_attention" ||
    type === "linear_attention" && converted.includes(layer);
  if (!Array.isArray(types) || types.length !== layers || !types.every(known)) {
    const expected = `"full_attention" or "sliding_attention" for each of the ${layers} layers`;
    fields.problem(key, expected, "other kinds of layers are not implemented");
    return [];
  }
  const sliding = types.flatMap((type, layer) => type === "sliding_attention" ? [layer] : []);
  if (window === null && sliding.length > 0) {
    const advice = "layer_types has layers with a window: use_sliding_window and sliding_window";
    fields.problem("use_sliding_window", "true, with a sliding_window", advice);
  }
  return sliding;
}

/** The keys of Qwen's families; none where no layer has a window. */
export function writeSlidingWindow(
  { slidingWindow, slidingLayers }: SlidingWindow,
  layers: number,
  converted: readonly number[] = [],
): JsonObject {
  if (slidingLayers.length === 0) return {};
  return {
    use_sliding_window: true,
    sliding_window: slidingWindow,
    // Readers that do not know layer_types take the layers from this one on.
    max_window_layers: slidingLayers[0],
    layer_types: Array.from(
      { length: layers },
      (_, layer) =>
        slidingLayers.includes(layer)
          ? "sliding_attention"
          : converted.includes(layer)
          ? "linear_attention"
          : "full_attention",
    ),
  };
}
