/** What the paper reports of its own runs (RADLADS, arXiv 2505.03005): hours on 8 x MI300X. */

/** One published conversion. */
export interface PublishedRun {
  readonly teacher: string;
  /** Hours of stages 1, 2 and 3. */
  readonly hours: readonly [align: number, distill: number, finetune: number];
}

/** The fleet of every published run. */
export const PUBLISHED_FLEET = "8x MI300X";

export const PUBLISHED: readonly PublishedRun[] = Object.freeze([
  { teacher: "Qwen/Qwen2.5-7B-Instruct", hours: [0.75, 5.5, 1] },
  { teacher: "Qwen/Qwen2.5-32B-Instruct", hours: [2.5, 27, 3] },
  { teacher: "Qwen/Qwen2.5-72B-Instruct", hours: [7.5, 54, 6] },
]);
