/** What `deno task bench` can be told. */

import { DECODE_MIXERS } from "../../bench/random_model.ts";
import { type ShapeName, SHAPES } from "../../bench/shapes.ts";
import { WEIGHT_FORMATS } from "../../infer/weights.ts";
import { deviceFlags } from "../device.ts";
import {
  absent,
  choice,
  type FlagValues,
  optional,
  path,
  seconds,
  text,
  toggle,
  whole,
} from "../flags.ts";

const SHAPE_NAMES = Object.keys(SHAPES) as ShapeName[];
/** PyTorch with a C++ kernel for WKV7, with PyTorch operations by chunks, and in bf16. */
export const PEERS = ["torch", "torch-chunked", "torch-bf16", "torch-compile"] as const;

export const benchFlags = {
  shape: absent(
    choice("model of `train`, and of `decode` without a checkpoint", SHAPE_NAMES),
    "tiny; smollm for `decode`",
  ),
  mixer: optional(
    choice("mixer of the student of `train`, and of the model of `decode`", DECODE_MIXERS),
    "rwkv7",
  ),
  stage: optional(choice("stage of `train`", ["1", "2"]), "1"),
  steps: optional(whole("steps of `train` that are timed", 1, 10000), 10),
  profile: toggle("also time every kernel of a step of `train`"),
  vs: absent(
    choice("run the same step in PyTorch, in turn with ours (makes .venv)", PEERS),
    "no comparison",
  ),
  checkpoint: absent(path("CHECKPOINT", "the model that `decode` measures"), "none"),
  against: absent(path("CHECKPOINT", "another one beside it, its teacher for one"), "none"),
  prompt: optional(text("P", "the text that `decode` begins with"), "The"),
  weights: absent(
    choice("how `decode` holds the weights: tokens/s beside the memory's", WEIGHT_FORMATS),
    "each in turn",
  ),
  streams: absent(whole("texts that `decode` writes at a time", 1, 64), "1"),
  seconds: optional(seconds("time that `decode` takes for each"), 5),
  tokens: optional(whole("tokens that `decode` writes", 1), 32768),
  window: optional(whole("tokens of which `decode` takes the median", 1), 256),
  svg: absent(path("FILE", "where `decode` draws it"), "not drawn"),
  ...deviceFlags,
};

/** What it was told. */
export type BenchFlags = FlagValues<typeof benchFlags>;
