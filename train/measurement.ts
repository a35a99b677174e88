/** How well the student does beside its teacher, on text that neither was trained on. */

import type { Stage } from "../dsl/stages.ts";
import { evaluate, type Evaluation, type ReadableTokens } from "../infer/evaluation.ts";
import type { LoadedModel } from "../infer/session.ts";
import type { TokenStream } from "./data.ts";
import { NotFiniteError } from "./finite.ts";
import type { Measure, ModelReport } from "./report.ts";
import type { OnProgress } from "./sources.ts";

/** Held-out tokens that are evaluated at most. */
export const HELD_OUT_LIMIT = 262_144;
/** Context of a recipe without stages. */
const CONTEXT = 256;

/** Predicts a text after `stagesDone` stages, in windows of `context` tokens. */
type Evaluator = (
  text: ReadableTokens,
  context: number,
  onProgress: (done: number, total: number) => void,
  stagesDone: number,
) => Promise<Evaluation>;

/** How a run's models are measured, as they are at the time of the call. */
export interface Evaluators {
  readonly teacher?: Evaluator;
  readonly student: Evaluator;
}

/** What is measured, and on what. */
export interface Measured extends Evaluators {
  readonly stages: readonly Stage[];
  /** The held-out text of every stage; of the recipe where there are none. */
  readonly heldOut: readonly TokenStream[];
  readonly onProgress: OnProgress;
}

/** Measures a model that is in memory, as it is at the time of the call. */
export const heldEvaluator =
  (model: () => LoadedModel): Evaluator => (text, context, onProgress) => {
    const { length } = text;
    const read = (start: number, count: number) => {
      onProgress(start, length);
      return text.read(start, count);
    };
    return evaluate(model(), { length, read }, context);
  };

/** Measures a run's models as they are at the time of the call. */
export interface Measures {
  /**
   * The student after `stagesDone` stages, at the context and on the text of the last of them.
   * @throws NotFiniteError where it predicts nothing any more.
   */
  student(stagesDone: number): Promise<Measure>;
  /** The teacher at the same; undefined where there is none. */
  teacher(stagesDone: number): Promise<ModelReport | undefined>;
}

async function measure(
  evaluator: Evaluator,
  text: TokenStream,
  context: number,
  stagesDone: number,
  onProgress: (done: number, total: number) => void,
): Promise<ModelReport> {
  const length = Math.min(text.length, HELD_OUT_LIMIT);
  const start = { length, read: text.read };
  return { ...await evaluator(start, context, onProgress, stagesDone), context };
}

/** Prepares the measuring; the teacher, which does not change, is measured once a context and text. */
export function createMeasures(measured: Measured): Measures {
  const { teacher, stages, heldOut, onProgress } = measured;
  const known = new Map<TokenStream, Map<number, ModelReport>>();
  const at = (stagesDone: number) => {
    const index = Math.max(0, stagesDone - 1);
    return { text: heldOut[index], context: stages.length === 0 ? CONTEXT : stages[index].context };
  };
  const ofTeacher = async (stagesDone: number): Promise<ModelReport | undefined> => {
    if (teacher === undefined) return undefined;
    const { text, context } = at(stagesDone);
    const before = known.get(text)?.get(context);
    const report = before ?? await measure(
      teacher,
      text,
      context,
      stagesDone,
      (done, total) => onProgress("measuring the teacher", done, total),
    );
    known.set(text, new Map([...known.get(text) ?? [], [context, report]]));
    return report;
  };
  return {
    teacher: ofTeacher,
    student: async (stagesDone) => {
      const { text, context } = at(stagesDone);
      const { loss, perplexity } = await measure(
        measured.student,
        text,
        context,
        stagesDone,
        (done, total) => onProgress("measuring the student", done, total),
      );
      if (!Number.isFinite(loss)) {
        const when = stagesDone === 0 ? "before the first stage" : `after stage ${stagesDone}`;
        throw new NotFiniteError(
          `the student's held-out loss ${when} is ${loss}. Lower the learning rate, lengthen the ` +
            "warm-up or clip more, and run the recipe again.",
        );
      }
      const reference = await ofTeacher(stagesDone);
      const ratio = reference && { ratio: perplexity / reference.perplexity };
      return { loss, perplexity, ...ratio, context };
    },
  };
}
