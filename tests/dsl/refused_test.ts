import { assertEquals } from "@std/assert";
import {
  constant,
  cosine,
  cosineBetween,
  keepAttention,
  layers,
  match,
  text,
  validate,
} from "../../mod.ts";
import { describe } from "../../dsl/problem.ts";
import { conversion, loose, type Spoilt } from "./example.ts";

const problems = (value: unknown) => validate(value).map(describe);

const SPOILT: readonly Spoilt[] = [
  [
    "context",
    (r) => r.stages[1].context = 100,
    "stages[1].context: expected a multiple of 16, found 100",
  ],
  [
    "no context",
    (r) => r.stages[1].context = 0,
    "stages[1].context: expected a multiple of 16, found 0",
  ],
  [
    "context as text",
    (r) => r.stages[1].context = "512",
    'stages[1].context: expected a multiple of 16, found "512"',
  ],
  [
    "context beyond any model",
    (r) => r.stages[1].context = 2 ** 21,
    "stages[1].context: expected at most 1048576, found 2097152",
  ],
  [
    "accumulate",
    (r) => r.stages[0].accumulate = 3,
    "stages[0].accumulate: expected a divisor of the batch of 16, found 3",
  ],
  [
    "less than a step",
    (r) => r.stages[2].tokens = 4095,
    "stages[2].tokens: expected at least one step of 4 × 1024 = 4096 tokens, found 4095",
  ],
  [
    "fractional tokens",
    (r) => r.stages[2].tokens = 1e6 + 0.5,
    "stages[2].tokens: expected a whole number from 1, found 1000000.5",
  ],
  [
    "batch",
    (r) => r.stages[0].batch = -1,
    "stages[0].batch: expected a whole number from 1 to 65536, found -1",
  ],
  [
    "rate",
    (r) => r.stages[1].lr.lr = 0,
    "stages[1].lr.lr: expected a learning rate above 0 and at most 1, found 0",
  ],
  [
    "rate as a number",
    (r) => r.stages[1].lr = 1e-4,
    "stages[1].lr: expected a schedule: constant(lr), cosine(init, final), linear(init, final) or " +
    "cosineBetween(init, final, from, to), found 0.0001",
  ],
  [
    "schedule",
    (r) => r.stages[1].lr.kind = "cosin",
    'stages[1].lr.kind: expected "constant", "cosine", "linear" or "cosineBetween", found "cosin"; ' +
    'did you mean "cosine"?',
  ],
  [
    "shares of a stage",
    (r) => r.stages[1].lr = cosineBetween(1e-4, 1e-5, 0.9, 1.5),
    "stages[1].lr.to: expected a share of the stage from 0 to 1, found 1.5",
  ],
  [
    "shares the wrong way round",
    (r) => r.stages[1].mixerLr = cosineBetween(1e-4, 1e-5, 0.9, 0.9),
    "stages[1].mixerLr.to: expected a share of the stage above 0.9, found 0.9",
  ],
  [
    "mixers' rate in stage 1",
    (r) => r.stages[0].mixerLr = constant(1e-4),
    "stages[0].mixerLr: expected nothing where mixers are all that is trained, found constant 1e-4; " +
    "lr is the rate of all",
  ],
  [
    "mixers' rate where they are trained alone",
    (r) => Object.assign(r.stages[1], { trains: "mixers", mixerLr: cosine(1e-4, 1e-5) }),
    "stages[1].mixerLr: expected nothing where mixers are all that is trained, " +
    "found cosine 1e-4..1e-5; lr is the rate of all",
  ],
  [
    "betas",
    (r) => r.stages[0].betas = [0.9, 1],
    "stages[0].betas[1]: expected a number from 0 to below 1, found 1",
  ],
  [
    "one beta",
    (r) => r.stages[0].betas = [0.9],
    "stages[0].betas: expected [β₁, β₂], found a list of 1",
  ],
  [
    "trains",
    (r) => r.stages[0].trains = "mixer",
    'stages[0].trains: expected "mixers" or "everything", found "mixer"; did you mean "mixers"?',
  ],
  [
    "trains nothing",
    (r) => r.stages[0].trains = match(),
    "stages[0].trains.globs: expected at least one glob, found an empty list",
  ],
  [
    "stage's kind",
    (r) => r.stages[0].kind = "aling",
    'stages[0].kind: expected "align", "distill", "finetune" or "pretrain", found "aling"; did you mean "align"?',
  ],
  [
    "stage's option",
    (r) => r.stages[0].warmUp = 3,
    "stages[0].warmUp: expected one of the keys kind, name, tokens, context, batch, lr, mixerLr, warmup, " +
    "accumulate, clip, weightDecay, betas, epsilon, trains, data, rematerialise, streamed, found an unknown key; did you mean warmup?",
  ],
  [
    "streamed",
    (r) => r.stages[0].streamed = false,
    "stages[0].streamed: expected true, or no such key, found false",
  ],
  [
    "streamed beyond stage 1",
    (r) => r.stages[1].streamed = true,
    "stages[1].streamed: expected nothing, because only in stage 1 are layers independent of one another, found true",
  ],
  [
    "stage's name",
    (r) => r.stages[0].name = "../up",
    'stages[0].name: expected up to 64 letters, digits, spaces, -, _ or ., found "../up"',
  ],
  [
    "stage's data",
    (r) => r.stages[0].data = [],
    "stages[0].data: expected at least one data source, found an empty list",
  ],
  [
    "flag",
    (r) => r.surgery[0].mixer.grupNorm = true,
    "surgery[0].mixer.grupNorm: expected one of the keys kind, rope, balanceState, groupNorm, gate, ranks, " +
    "reinitialise, found an unknown key; did you mean groupNorm?",
  ],
  [
    "gate",
    (r) => r.surgery[0].mixer.gate = 3,
    "surgery[0].mixer.gate: expected 0, 1 or 2, found 3",
  ],
  [
    "rank",
    (r) => r.surgery[0].mixer.ranks = { decay: 0 },
    'surgery[0].mixer.ranks.decay: expected "auto" or a whole number from 1 to 65536, found 0',
  ],
  [
    "reinitialise",
    (r) => r.surgery[0].mixer.reinitialise = ["keys"],
    'surgery[0].mixer.reinitialise[0]: expected "receptance", "key", "value" or "output", ' +
    'found "keys"; did you mean "key"?',
  ],
  [
    "count of layers",
    (r) => r.surgery[1].layers.count = 1.5,
    "surgery[1].layers.count: expected a whole number of layers from 1, found 1.5",
  ],
  [
    "no layers",
    (r) => r.surgery[1].layers = { kind: "only", indices: [] },
    "surgery[1].layers.indices: expected at least one layer's index, found an empty list",
  ],
  [
    "layer's index",
    (r) => r.surgery[1].layers = { kind: "except", indices: [0, 0.5] },
    "surgery[1].layers.indices[1]: expected a layer's index: a whole number, from the end where negative, found 0.5",
  ],
  [
    "table",
    (r) => r.surgery[1].layers = { kind: "where", table: "ff" },
    "surgery[1].layers.table: expected a table of answers, found 2 digits in place of 2064",
  ],
  [
    "no data",
    (r) => delete r.data,
    "data: expected a data source: text(globs), jsonl(globs, field), " +
    "binidx(prefix) or samples(…), found nothing",
  ],
  [
    "empty glob",
    (r) => r.data = text(["a", ""]),
    "data.globs[1]: expected a glob over files, found empty text",
  ],
  [
    "temperature",
    (r) => r.data = { kind: "samples", teacher: r.teacher, tokens: 10, temperature: -1, topP: 0 },
    "data.temperature: expected a temperature from 0 to 100, found -1",
    "data.topP: expected a probability above 0 and at most 1, found 0",
  ],
  [
    "output that a terminal would obey",
    (r) => r.output = "out/\u001b[2Jx",
    "output: expected the path of a directory, without control characters, " +
    'found "out/\\u001b[2Jx"',
  ],
  [
    "output of two lines",
    (r) => r.output = "out/a\nb",
    'output: expected the path of a directory, without control characters, found "out/a\\nb"',
  ],
  ["output", (r) => r.output = "", "output: expected the path of a directory, found empty text"],
  ["seed", (r) => r.seed = -1, "seed: expected a whole number from 0 to 4294967295, found -1"],
  [
    "heldOut",
    (r) => r.heldOut = 1,
    "heldOut: expected a fraction above 0 and at most 0.5, found 1",
  ],
  [
    "a revision of a path",
    (r) => r.teacher = { kind: "checkpoint", location: "./qwen", revision: "main" },
    "teacher.location: expected the name of a model, such as Qwen/Qwen2.5-0.5B-Instruct, beside a " +
    'revision, found "./qwen"',
  ],
  [
    "a revision that git would not take",
    (r) => r.teacher = { kind: "checkpoint", location: "a/b", revision: "../main" },
    'teacher.revision: expected a branch, a tag or a commit, found "../main"',
  ],
  [
    "teacher as text",
    (r) => r.teacher = "assets/teacher",
    'teacher: expected teacher("path or name") or newModel({ config, tokenizer }), found "assets/teacher"',
  ],
  [
    "pretraining a teacher",
    (r) => r.stages[1].kind = "pretrain",
    "stages[1]: expected align, distill or finetune, because the teacher is trained already, " +
    "found pretrain; pretrain wants teacher: newModel(…)",
  ],
  [
    "nothing converted",
    (r) => r.surgery = [layers.all.to(keepAttention())],
    "surgery: expected a rule that converts layers, such as layers.all.to(radRwkv7()), found none; " +
    "align trains converted layers",
  ],
  [
    "a key of its own",
    (r) => Object.defineProperty(r, "__proto__", { value: {}, enumerable: true }),
    "__proto__: expected one of the keys teacher, surgery, stages, data, output, seed, heldOut, " +
    "found an unknown key",
  ],
  [
    "unknown part",
    (r) => r.stage = [],
    "stage: expected one of the keys teacher, surgery, stages, data, output, seed, heldOut, " +
    "found an unknown key; did you mean stages?",
  ],
];

for (const [what, spoil, ...expected] of SPOILT) {
  Deno.test(`validate: ${what}`, () => {
    const value = loose(conversion);
    spoil(value);
    assertEquals(problems(value), expected);
  });
}
