/** What `deno task bench` can be told. */

import { BENCH_MIXERS, type BenchMixer, type ShapeName, SHAPES } from "../../bench/shapes.ts";
import { deviceFlags } from "../device.ts";
import { absent, choice, type FlagValues, optional, path, text, toggle, whole } from "../flags.ts";

const SHAPE_NAMES = Object.keys(SHAPES) as ShapeName[];
const MIXER_NAMES = Object.keys(BENCH_MIXERS) as BenchMixer[];
/** PyTorch with a C++ kernel for WKV7, with PyTorch operations by chunks, and in bf16. */
export const PEERS = ["torch", "torch-chunked", "torch-bf16", "torch-compile"] as const;

export const benchFlags = {
  shape: optional(choice("model and batch of `train` and `align`", SHAPE_NAMES), "tiny"),
  mixer: optional(choice("mixer of the student of `train` and `align`", MIXER_NAMES), "rwkv7"),
  stage: optional(choice("stage of `train`", ["1", "2"]), "1"),
  steps: optional(whole("steps of `train` and `align` that are timed", 1, 10000), 10),
  profile: toggle("also time every kernel of a step of `train`"),
  layers: absent(whole("layers of the model of `align`", 1, 1000), "the shape's"),
  teacher: absent(
    path("DIR", "where `align` makes its random teacher, or finds it"),
    "a temporary folder",
  ),
  vs: absent(
    choice("run the same step in PyTorch, in turn with ours (makes .venv)", PEERS),
    "no comparison",
  ),
  checkpoint: absent(path("CHECKPOINT", "the model that `decode` measures"), "none"),
  against: absent(path("CHECKPOINT", "another one beside it, its teacher for one"), "none"),
  prompt: optional(text("P", "the text that `decode` begins with"), "The"),
  tokens: optional(whole("tokens that `decode` writes", 1), 32768),
  window: optional(whole("tokens of which `decode` takes the median", 1), 256),
  svg: absent(path("FILE", "where `decode` draws it"), "not drawn"),
  ...deviceFlags,
};

/** What it was told. */
export type BenchFlags = FlagValues<typeof benchFlags>;
