/**
 * The conversions of RADLADS (arXiv 2505.03005): Qwen2.5 Instruct by size, with the paper's
 * hyper-parameters. recipes/qrwkv6.ts and recipes/qrwkv7.ts are these with their mixers.
 *
 * The paper gives ranges; what is chosen of them: 500 M tokens of stage 2, 100 M of stage 3 at a
 * context of 4,096 with batches of 96 and a rate of 1e-5, 700 M tokens in all. Batches are computed
 * 8 sequences at a time, one on each of the paper's 8 devices; as in its training code, activations
 * are computed again.
 */
import {
  align,
  binidx,
  constant,
  cosine,
  distill,
  finetune,
  layers,
  type Mixer,
  type Recipe,
  recipe,
  teacher,
  tokens,
  type Transformation,
  withStages,
} from "../mod.ts";

/** Sizes of Qwen2.5; the paper converts 7B, 32B and 72B. */
export type Size = "0.5B" | "1.5B" | "3B" | "7B" | "14B" | "32B" | "72B";

/** Attention alignment. */
export const stage1 = align({
  tokens: tokens("100M"),
  context: 512,
  batch: 32,
  accumulate: 4,
  lr: cosine(1e-3, 1e-5),
});

/** Logit distillation. */
export const stage2 = distill({
  tokens: tokens("500M"),
  context: 512,
  batch: 96,
  accumulate: 12,
  lr: constant(1e-5),
  rematerialise: true,
});

/** Stage 2 at a long context, with as many tokens a step; its 100 M tokens are our choice. */
export const stage2a = distill({
  name: "distill-long",
  tokens: tokens("100M"),
  context: 4096,
  batch: 16,
  accumulate: 2,
  lr: constant(1e-5),
  rematerialise: true,
});

/** Long context, without a teacher. */
export const stage3 = finetune({
  tokens: tokens("100M"),
  context: 4096,
  batch: 96,
  accumulate: 12,
  lr: constant(1e-5),
  rematerialise: true,
});

/** Stage 2a between stages 2 and 3. */
export const withStage2a: Transformation = withStages([stage1, stage2, stage2a, stage3]);

/** Qwen2.5 of a size with this mixer in every layer, trained on DCLM as the paper's models are. */
export function radlads(size: Size, mixer: Exclude<Mixer, { kind: "attention" }>): Recipe {
  const name = mixer.kind === "radRwkv6" ? "qrwkv6" : "qrwkv7";
  return recipe({
    teacher: teacher(`Qwen/Qwen2.5-${size}-Instruct`),
    surgery: [layers.all.to(mixer)],
    stages: [stage1, stage2, stage3],
    data: binidx("data/dclm-10B"),
    output: `out/${name}-${size}`,
  });
}
