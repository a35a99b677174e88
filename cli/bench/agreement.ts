/** `deno task bench agreement`: whether training steps and decoding give what the reference gives. */

import { decodeResults, shapeStepResults } from "../../bench/agreement.ts";
import { largestDifference } from "../../bench/difference.ts";
import { benchStage } from "../../bench/memory.ts";
import { type BenchMixer, benchModels, type ShapeName, SHAPES } from "../../bench/shapes.ts";
import type { Device, ProductPrecision } from "../../devices/device.ts";
import { memoryBound } from "../../train/memory_need.ts";
import { formOf, referenceForm } from "./forms.ts";
import { differenceText, within } from "./operations.ts";
import type { BenchPart } from "./part.ts";
import { studentMixer } from "./train.ts";

/** The shapes where none is named. */
const DEFAULT_SHAPES: readonly ShapeName[] = ["small", "smollm"];

/**
 * Largest differences by what products multiply: of whole models, and what AdamW makes of a step. Those
 * of an operation, ten times in f32; in TF32 as `golden` allows gradients, and a little more.
 */
const TOLERANCE: Readonly<Record<ProductPrecision, number>> = { f32: 1e-3, tf32: 2e-2 };

/** A comparison. */
interface Compared {
  readonly name: string;
  readonly difference: number;
}

/** Losses, gradient norms and logits, on both devices one after the other. */
export const agreementPart: BenchPart = {
  name: "agreement",
  title: "Agreement of results",
  measure: async (flags, { say, device }) => {
    const mixer = studentMixer(flags);
    const [own, reference] = [formOf(flags), referenceForm(flags)];
    const compared: Compared[] = [];
    for (const shape of flags.shape ?? DEFAULT_SHAPES) {
      for (const { name, memory, measure } of comparisons(shape, mixer)) {
        const found = await device(measure, own, memory);
        const expected = await device(measure, reference, memory);
        const difference = largestDifference(found, expected);
        say(`${name}: ${differenceText({ difference })}`);
        compared.push({ name, difference });
      }
    }
    const tolerance = TOLERANCE[flags.products];
    const agrees = within(tolerance);
    return {
      content: [{
        rows: [
          ["result", "apart", "agrees"],
          ...compared.map((row) => [row.name, differenceText(row), agrees(row) ? "yes" : "NO"]),
        ],
      }, `Relative differences from the reference, at most ${tolerance}.`],
      report: {
        tolerance,
        results: compared.map((row) => ({ ...row, agrees: agrees(row) })),
      },
      failed: !compared.every(agrees),
    };
  },
};

/** What is compared of a shape: numbers, each list relative to its largest. */
function comparisons(shape: ShapeName, mixer: BenchMixer) {
  const { teacher, student } = benchModels(SHAPES[shape], mixer);
  const { batch, context } = SHAPES[shape];
  const options = { accumulate: 1, rematerialise: false, steps: 1 };
  return [
    ...([1, 2] as const).map((stage) => ({
      name: `${shape}, stage ${stage}: loss and gradient norm`,
      memory: memoryBound(
        benchStage({ shape, mixer, stage, batch, context, ...options }),
        student,
        teacher,
      ),
      measure: (device: Device): Promise<readonly ArrayLike<number>[]> =>
        shapeStepResults(device, { shape, mixer, stage }),
    })),
    {
      name: `${shape}: logits of a prompt, and of tokens one by one`,
      memory: undefined,
      measure: (device: Device): Promise<readonly ArrayLike<number>[]> =>
        decodeResults(device, { shape, mixer }),
    },
  ];
}
