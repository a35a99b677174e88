/** What `deno task bench` can be told. */

import { type PeerName, PEERS } from "../../bench/peer.ts";
import { PYTHONS } from "../../bench/python.ts";
import { DECODE_MIXERS } from "../../bench/random_model.ts";
import { type ShapeName, SHAPES } from "../../bench/shapes.ts";
import { WEIGHT_FORMATS } from "../../infer/weights.ts";
import { deviceFlags } from "../device.ts";
import {
  absent,
  choice,
  choices,
  type FlagValues,
  optional,
  path,
  seconds,
  text,
  toggle,
  whole,
  wholes,
} from "../command/flags.ts";

const SHAPE_NAMES = Object.keys(SHAPES) as ShapeName[];

/** What can be measured together. */
export const PART_NAMES = [
  "peaks",
  "matmul",
  "operations",
  "agreement",
  "train",
  "memory",
  "align",
  "decode",
  "growth",
] as const;

/** A part's name. */
export type PartName = typeof PART_NAMES[number];

/** What `--all` measures on a CPU and on a GPU, in its order. */
export const CPU_PARTS: readonly PartName[] = [
  "peaks",
  "matmul",
  "train",
  "memory",
  "align",
  "decode",
  "growth",
];
export const GPU_PARTS: readonly PartName[] = [
  "peaks",
  "matmul",
  "operations",
  "agreement",
  "train",
  "decode",
];

export const benchFlags = {
  all: toggle(
    "measure everything: on the CPU beside PyTorch, with a BLAS and without; on a GPU this is so " +
      "where WHAT is missing",
  ),
  only: absent(choices("these parts of --all", PART_NAMES), "all of them"),
  quick: toggle("fewer steps, turns and sizes"),
  "json-out": absent(
    path("FILE", "where the JSON of --all is written"),
    "not written; out/bench-DEVICE.json with everything of a GPU",
  ),
  out: absent(
    path("FILE", "Markdown in which the sections of this machine are replaced"),
    "not written",
  ),
  shape: absent(
    choices(
      "models and batches of `train`, `operations` and `agreement`; one of `align` or `decode`",
      SHAPE_NAMES,
    ),
    "tiny, smollm for `decode`, small and smollm for others; --all has three, two on a GPU",
  ),
  mixer: optional(
    choice("mixer of the student of `train` and `align`, of the model of `decode`", DECODE_MIXERS),
    "rwkv7",
  ),
  stage: absent(choices("stages of `train`", ["1", "2"]), "1; --all has both"),
  steps: optional(
    whole("steps of `train` that are timed at most, and those of `align`", 1, 10000),
    10,
  ),
  seconds: absent(
    seconds("time of the timed steps of a turn of `train`, and of a row of `decode`"),
    "20; 5 for `decode`; --quick 2 and 1",
  ),
  turns: absent(whole("turns of ours and of PyTorch's", 1, 100), "3; --quick 1"),
  profile: toggle("also time every kernel of a step of `train`, as DEBUG=2 does"),
  layers: absent(whole("layers of the model of `align`", 1, 1000), "the shape's"),
  teacher: absent(
    path("DIR", "where `align` makes its random teacher, or finds it"),
    "a temporary folder",
  ),
  vs: absent(
    choices(
      "run the same steps (or `matmul`) in PyTorch, in turn with ours; makes .venv",
      Object.keys(PEERS) as PeerName[],
    ),
    "no comparison; --all has all on a CPU, --quick all but torch-keep",
  ),
  python: optional(
    choice(
      "the Python of PyTorch: that of .venv, which is made, or the one that is found",
      PYTHONS,
    ),
    ".venv",
  ),
  checkpoint: absent(path("CHECKPOINT", "the model that `decode` measures"), "none"),
  against: absent(path("CHECKPOINT", "another one beside it, its teacher for one"), "none"),
  prompt: optional(text("P", "the text that `decode` begins with"), "The"),
  weights: absent(
    choice("how `decode` holds the weights: tokens/s beside the memory's", WEIGHT_FORMATS),
    "each in turn",
  ),
  streams: absent(wholes("texts that `decode` writes at a time", 1, 64), "1; --all 1,8,64"),
  tokens: optional(whole("tokens that `decode` writes", 1), 32768),
  window: optional(whole("tokens of which `decode` takes the median", 1), 256),
  svg: absent(path("FILE", "where `decode` or `growth` is drawn"), "not drawn"),
  ...deviceFlags,
};

/** What it was told. */
export type BenchFlags = FlagValues<typeof benchFlags>;
